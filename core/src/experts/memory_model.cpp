// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/memory_model.hpp"

#include <algorithm>

#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

template <typename Named>
std::optional<Named> find_named(std::vector<Named> const& all, std::string_view name) {
  auto const found = std::find_if(all.begin(), all.end(), [&](Named const& one) { return one.name == name; });
  return found == all.end() ? std::nullopt : std::optional<Named>(*found);
}

WeightFormat coded(std::string name, QuantLayout const& layout) {
  return {std::move(name), DType::u8, layout};
}

}  // namespace

std::vector<MoeShape> const& moe_shape_presets() {
  // name, hidden, intermediate, experts, top-k, layers, shared experts, gated, biases
  static std::vector<MoeShape> const presets = {
      {"deepseek-v3", 7168, 2048, 256, 8, 58, 1, true, false},
      {"deepseek-v4-pro", 7168, 3072, 384, 6, 61, 1, true, false},
      {"kimi-k2", 7168, 2048, 384, 8, 60, 1, true, false},
      {"qwen3-235b", 4096, 1536, 128, 8, 94, 0, true, false},
      {"qwen3-30b", 2048, 768, 128, 8, 48, 0, true, false},
      {"qwen3-next-80b", 2048, 512, 512, 10, 48, 1, true, false},
      {"gpt-oss-120b", 2880, 2880, 128, 4, 36, 0, true, true},
      {"gpt-oss-20b", 2880, 2880, 32, 4, 24, 0, true, true},
      {"mixtral-8x7b", 4096, 14336, 8, 2, 32, 0, true, false},
      {"mixtral-8x22b", 6144, 16384, 8, 2, 56, 0, true, false},
      {"glm-4.5", 5120, 1536, 160, 8, 89, 1, true, false},
      {"glm-4.5-air", 4096, 1408, 128, 8, 45, 1, true, false},
      {"llama4-maverick", 5120, 8192, 128, 1, 24, 1, true, false},
      {"llama4-scout", 5120, 8192, 16, 1, 48, 1, true, false},
      {"minimax-m2", 3072, 1536, 256, 8, 62, 0, true, false},
      {"deepseek-v2-lite", 2048, 1408, 64, 6, 26, 2, true, false},
  };
  return presets;
}

std::optional<MoeShape> find_moe_shape(std::string_view name) {
  return find_named(moe_shape_presets(), name);
}

std::vector<WeightFormat> const& weight_formats() {
  static std::vector<WeightFormat> const formats = {
      {"bf16", DType::bf16, {}},
      {"f16", DType::f16, {}},
      {"f32", DType::f32, {}},
      coded("fp8_tensor", {CodeFormat::e4m3, ScaleFormat::f32, 0, 0}),
      coded("fp8_block", {CodeFormat::e4m3, ScaleFormat::f32, 128, 128}),
      coded("mxfp8", {CodeFormat::e4m3, ScaleFormat::e8m0, 1, 32}),
      coded("mxfp4", {CodeFormat::e2m1, ScaleFormat::e8m0, 1, 32}),
      coded("nvfp4", {CodeFormat::e2m1, ScaleFormat::e4m3, 1, 16, false, true}),
      coded("int8_group", {CodeFormat::int8, ScaleFormat::f32, 1, 128}),
      coded("int4_group", {CodeFormat::uint4, ScaleFormat::f32, 1, 128}),
      coded("int4_group_zero", {CodeFormat::uint4, ScaleFormat::f32, 1, 128, true, false}),
  };
  return formats;
}

std::optional<WeightFormat> find_weight_format(std::string_view name) {
  return find_named(weight_formats(), name);
}

std::int64_t WeightFormat::matrix_bytes(std::int64_t rows, std::int64_t columns) const {
  if (!layout) return checked_mul(checked_mul(rows, columns), size_of(dtype));
  QuantSizes const sizes = quant_sizes(*layout, rows, columns);
  std::int64_t const tensor_scale = layout->tensor_scale ? 4 : 0;
  return checked_add(checked_add(sizes.code_bytes, sizes.scale_bytes),
                     checked_add(sizes.zero_point_bytes, tensor_scale));
}

}  // namespace switchyard
