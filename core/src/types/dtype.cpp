// SPDX-License-Identifier: Apache-2.0
#include "switchyard/types/dtype.hpp"

#include <array>

#include "switchyard/hd/convert.hpp"

namespace switchyard {

namespace {

struct DTypeRow {
  DType dtype;
  std::int64_t bytes;
  std::string_view name;
};

constexpr std::array<DTypeRow, 9> kDTypes = {{{DType::f32, 4, "f32"},
                                              {DType::f64, 8, "f64"},
                                              {DType::bf16, 2, "bf16"},
                                              {DType::f16, 2, "f16"},
                                              {DType::f8_e4m3, 1, "f8_e4m3"},
                                              {DType::f8_e5m2, 1, "f8_e5m2"},
                                              {DType::i32, 4, "i32"},
                                              {DType::i64, 8, "i64"},
                                              {DType::u8, 1, "u8"}}};

constexpr bool rows_follow_the_enumerators() {
  for (std::size_t i = 0; i < kDTypes.size(); ++i)
    if (static_cast<std::size_t>(kDTypes[i].dtype) != i) return false;
  return true;
}
static_assert(rows_follow_the_enumerators());

DTypeRow const& row_of(DType dtype) noexcept {
  return kDTypes[static_cast<std::size_t>(dtype)];
}

}  // namespace

std::int64_t size_of(DType dtype) noexcept {
  return row_of(dtype).bytes;
}

std::string_view to_string(DType dtype) noexcept {
  return row_of(dtype).name;
}

std::optional<DType> parse_dtype(std::string_view name) noexcept {
  for (DTypeRow const& row : kDTypes)
    if (row.name == name) return row.dtype;
  return std::nullopt;
}

float to_float(bf16_t value) noexcept {
  return hd::widen(value);
}
float to_float(f16_t value) noexcept {
  return hd::widen(value);
}
float to_float(fp8_e4m3_t value) noexcept {
  return hd::widen(value);
}
float to_float(fp8_e5m2_t value) noexcept {
  return hd::widen(value);
}
float to_float(e8m0_t value) noexcept {
  return hd::widen(value);
}

bf16_t to_bf16(float value) noexcept {
  return hd::round_to_bf16(value);
}
f16_t to_f16(float value) noexcept {
  return hd::round_to_f16(value);
}
fp8_e4m3_t to_fp8_e4m3(float value, Saturation saturation) noexcept {
  return hd::round_to_e4m3(value, saturation);
}
fp8_e5m2_t to_fp8_e5m2(float value, Saturation saturation) noexcept {
  return hd::round_to_e5m2(value, saturation);
}
e8m0_t to_e8m0(float value, ScaleRounding rounding, Saturation saturation) noexcept {
  return hd::round_to_e8m0(value, rounding, saturation);
}

}  // namespace switchyard
