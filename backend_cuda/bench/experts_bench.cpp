// SPDX-License-Identifier: Apache-2.0
// bench_experts(): quantisers beside a device copy of the same run (bytes: values read once, codes
// and scales written), and the exact expert engine beside chains of fused multiply-adds that wait for no memory.
#include <cstdio>
#include <random>
#include <string>

#include "fma_peak.hpp"
#include "gpu_benches.hpp"
#include "switchyard/cuda/experts.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "switchyard/types/error.hpp"

namespace gpu_bench {
namespace {

namespace cuda = switchyard::cuda;
using switchyard::bf16_t;
using switchyard::DType;

constexpr std::int64_t kHidden = 7168;

/// Normal bf16 values, a megabyte of them over and over.
cuda::DeviceBuffer random_rows(std::int64_t count, cuda::StreamView stream) {
  std::mt19937_64 random(11);
  std::normal_distribution<float> normal;
  std::vector<bf16_t> values(std::size_t{1} << 19);
  for (bf16_t& value : values) value = switchyard::to_bf16(normal(random) * 0.05f);
  std::vector<bf16_t> all(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = values[i % values.size()];
  return cuda::upload(all, stream);
}

void bench_quantizers(Results& results, KernelTimer& timer, std::int64_t rows) {
  auto const stream = timer.stream();
  std::int64_t const bytes = rows * kHidden * 2;
  cuda::DeviceBuffer const values = random_rows(rows * kHidden, stream);
  cuda::DeviceBuffer const copied(bytes);
  std::string const size = std::to_string(rows) + " rows";
  std::vector<std::pair<std::string, double>> const fields{{"rows", static_cast<double>(rows)},
                                                           {"hidden", static_cast<double>(kHidden)}};
  auto const copy = timer.sample([&] { cuda::copy_device(values, copied, stream); });
  double const floor = 2.0 * static_cast<double>(bytes) / median(copy) * 1e-3;
  results.add("device copy " + size, fields, 2.0 * static_cast<double>(bytes), floor, copy);
  for (auto const scheme : switchyard::kAllQuantSchemes) {
    switchyard::QuantSpec spec;
    spec.scheme = scheme;
    spec.given_scale = 0.001f;
    auto matrix = cuda::DeviceQuantizedMatrix::make(spec, rows, kHidden);
    std::int64_t const passes = scheme == switchyard::QuantScheme::fp8_tensor_dynamic ? 2 : 1;
    auto const moved = static_cast<double>(passes * bytes + matrix.codes.size_bytes() + matrix.scales.size_bytes());
    auto const view = values.view(DType::bf16, {rows, kHidden});
    results.add("quantize " + std::string(to_string(scheme)) + " " + size, fields, moved, floor,
                timer.sample([&] { cuda::quantize(spec, view, matrix, stream); }));
  }
}

struct EngineShape {
  std::int64_t hidden;
  std::int64_t intermediate;
  int experts;
  std::int64_t rows_per_expert;
};

/// One rank's experts and all operands of a forward and a backward call.
struct EngineOperands {
  EngineOperands(EngineShape const& shape, cuda::StreamView stream) : experts(mlp_of(shape)) {
    auto const& mlp = experts.mlp();
    std::int64_t const e = shape.experts;
    rows = shape.rows_per_expert * e;
    w1 = random_rows(e * 2 * shape.intermediate * shape.hidden, stream);
    w2 = random_rows(e * shape.intermediate * shape.hidden, stream);
    x = random_rows(rows * shape.hidden, stream);
    y = cuda::DeviceBuffer(rows * shape.hidden * 2);
    d_w1 = cuda::DeviceBuffer(e * 2 * shape.intermediate * shape.hidden * 4);
    d_w2 = cuda::DeviceBuffer(e * shape.intermediate * shape.hidden * 4);
    std::vector<switchyard::RowBlock> list;
    for (std::int64_t i = 0; i < e; ++i) list.push_back({i * shape.rows_per_expert, shape.rows_per_expert});
    blocks = cuda::upload(list, stream);
    switchyard::ExpertWeights views;
    views.w1 = w1.view(DType::bf16, {e, 2 * shape.intermediate, shape.hidden});
    views.w2 = w2.view(DType::bf16, {e, shape.hidden, shape.intermediate});
    weights = std::make_unique<cuda::DeviceExpertWeights>(mlp, views, stream);
    memory = cuda::DeviceBuffer(experts.backward_workspace_bytes(rows));
    call.forward.rows = x.view(DType::bf16, {rows, shape.hidden});
    call.forward.blocks = blocks.as<switchyard::RowBlock const>();
    call.forward.total_rows = rows;
    call.forward.weights = weights.get();
    call.forward.output = y.view(DType::bf16, {rows, shape.hidden});
    call.d_output = call.forward.rows;
    call.d_rows = call.forward.output;
    call.d_w1 = d_w1.view(DType::f32, {e, 2 * shape.intermediate, shape.hidden});
    call.d_w2 = d_w2.view(DType::f32, {e, shape.hidden, shape.intermediate});
  }
  static switchyard::ExpertMlp mlp_of(EngineShape const& shape) {
    switchyard::ExpertMlp mlp;
    mlp.hidden = shape.hidden;
    mlp.intermediate = shape.intermediate;
    mlp.num_local_experts = shape.experts;
    mlp.dtype = DType::bf16;
    mlp.rounding = switchyard::ExpertRounding::every_store(DType::bf16);
    return mlp;
  }
  [[nodiscard]] std::span<std::byte> workspace() const {
    return {memory.as<std::byte>(), static_cast<std::size_t>(memory.size_bytes())};
  }

  cuda::ExactExperts experts;
  std::int64_t rows = 0;
  cuda::DeviceBuffer w1, w2, x, y, d_w1, d_w2, blocks, memory;
  std::unique_ptr<cuda::DeviceExpertWeights> weights;
  cuda::DeviceExpertGradientCall call{};
};

/// "GB/s" of these lines are 10^9 fused multiply-adds a second.
void bench_engine(Results& results, KernelTimer& timer, EngineShape const& shape, double peak) {
  EngineOperands const on(shape, timer.stream());
  auto const fields =
      std::vector<std::pair<std::string, double>>{{"hidden", static_cast<double>(shape.hidden)},
                                                  {"intermediate", static_cast<double>(shape.intermediate)},
                                                  {"experts", static_cast<double>(shape.experts)},
                                                  {"rows", static_cast<double>(on.rows)}};
  double const product = static_cast<double>(on.rows) * static_cast<double>(shape.hidden * shape.intermediate);
  std::string const size = std::to_string(shape.experts) + " x " + std::to_string(shape.rows_per_expert) + " rows, " +
                           std::to_string(shape.hidden) + " x " + std::to_string(shape.intermediate);
  results.add("exact forward " + size + " (G fma)", fields, 3.0 * product, peak,
              timer.sample([&] { on.experts.apply(on.call.forward, on.workspace(), timer.stream()); }));
  results.add("exact backward " + size + " (G fma)", fields, 8.0 * product, peak,
              timer.sample([&] { on.experts.backward(on.call, on.workspace(), timer.stream()); }));
}

}  // namespace

void bench_experts(Results& results, KernelTimer& timer) {
  for (std::int64_t const rows : {4096, 32768}) bench_quantizers(results, timer, rows);
  cuda::DeviceBuffer const sink(4);
  double fmas = 0.0;
  auto const peak = timer.sample([&] { fmas = launch_fma_peak(sink.as<float>(), timer.stream()); });
  double const rate = fmas / median(peak) * 1e-3;
  results.add("chains without memory (G fma)", {}, fmas, rate, peak);
  for (EngineShape const& shape :
       {EngineShape{2048, 1024, 8, 512}, EngineShape{7168, 2048, 8, 256}, EngineShape{7168, 2048, 32, 32}})
    bench_engine(results, timer, shape, rate);
}

}  // namespace gpu_bench
