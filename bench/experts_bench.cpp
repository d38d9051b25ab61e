// SPDX-License-Identifier: Apache-2.0
// The exact expert engine next to the cores' fp32 FMA peak and, where it was found, OpenBLAS sgemm, in one run: expert
// MLPs of hidden 2048 and intermediate 1024 (gated), f32 and bf16. "of_peak" is operations per second of processor
// time over what one core reaches with nothing but fused multiply-adds, measured in the same run.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstring>
#include <ctime>
#include <random>
#include <vector>

#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/experts/workspace.hpp"
#include "switchyard/hd/convert.hpp"

#if defined(SWITCHYARD_HAVE_CBLAS)
#include <cblas.h>
#endif

namespace {

namespace hd = switchyard::hd;
using switchyard::DType;

constexpr std::int64_t kHidden = 2048;
constexpr std::int64_t kIntermediate = 1024;

/// All threads of this process.
double processor_seconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

#if defined(__x86_64__)
/// Twelve independent chains of 512-bit fused operations in registers: nothing but the multipliers can hold them up.
__attribute__((target("avx512f"))) void spin(std::int64_t steps) {
  __asm__ volatile("vzeroall" ::
                       : "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10",
                         "zmm11", "zmm12");
  for (std::int64_t i = 0; i < steps; ++i)
    __asm__ volatile(
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm0\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm1\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm2\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm3\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm4\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm5\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm6\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm7\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm8\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm9\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm10\n\t"
        "vfmadd231ps %%zmm12, %%zmm12, %%zmm11"
        :
        :
        : "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12");
}
constexpr double kFlopsPerStep = 12.0 * 16.0 * 2.0;

/// Operations per second of processor time of one core.
double peak_flops() {
  static double const measured = [] {
    if (__builtin_cpu_supports("avx512f") == 0) return 0.0;
    double best = 0.0;
    for (int attempt = 0; attempt < 50; ++attempt) {
      constexpr std::int64_t kSteps = 1 << 18;
      double const start = processor_seconds();
      spin(kSteps);
      best = std::max(best, kFlopsPerStep * static_cast<double>(kSteps) / (processor_seconds() - start));
    }
    return best;
  }();
  return measured;
}
#else
double peak_flops() {
  return 0.0;
}
#endif

/// Processor time of a benchmark's loop, all threads: other programs on the machine do not change it much.
class Meter {
 public:
  void report(benchmark::State& state, double flops) const {
    double const seconds = processor_seconds() - start_;
    double const done = flops * static_cast<double>(state.iterations());
    state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
    state.counters["core_peak"] = peak_flops();
    if (peak_flops() > 0) state.counters["of_peak"] = done / seconds / peak_flops();
  }

 private:
  double start_ = processor_seconds();
};

template <typename T>
std::vector<T> random_values(std::int64_t count) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<T> values(static_cast<std::size_t>(count));
  std::size_t const drawn = std::min<std::size_t>(values.size(), 1 << 20);  // then they repeat
  for (std::size_t i = 0; i < drawn; ++i) values[i] = hd::narrow<T>(normal(random));
  for (std::size_t i = drawn; i < values.size(); ++i) values[i] = values[i - drawn];
  return values;
}

double mlp_flops(std::int64_t rows) {
  return 2.0 * static_cast<double>(rows) * kHidden * kIntermediate * 3;
}

template <typename T>
void exact_mlp(benchmark::State& state) {
  std::int64_t const rows = state.range(0);
  constexpr int kExperts = 2;
  switchyard::ExpertMlp mlp;
  mlp.hidden = kHidden;
  mlp.intermediate = kIntermediate;
  mlp.num_local_experts = kExperts;
  mlp.dtype = switchyard::dtype_of<T>::value;
  mlp.rounding = switchyard::ExpertRounding::fused(mlp.dtype);
  auto const w1 = random_values<T>(kExperts * 2 * kIntermediate * kHidden);
  auto const w2 = random_values<T>(kExperts * kHidden * kIntermediate);
  auto const x = random_values<T>(kExperts * rows * kHidden);
  std::vector<T> out(x.size());
  std::vector<switchyard::RowBlock> const blocks = {{0, rows}, {rows, rows}};
  switchyard::ExpertCall call;
  call.rows = switchyard::ConstTensorView(x.data(), mlp.dtype, {kExperts * rows, kHidden});
  call.blocks = blocks;
  call.weights.w1 = switchyard::ConstTensorView(w1.data(), mlp.dtype, {kExperts, 2 * kIntermediate, kHidden});
  call.weights.w2 = switchyard::ConstTensorView(w2.data(), mlp.dtype, {kExperts, kHidden, kIntermediate});
  call.output = switchyard::TensorView(out.data(), mlp.dtype, {kExperts * rows, kHidden});
  switchyard::cpu::ExactExperts const experts(mlp);
  switchyard::WorkspaceMemory memory;
  auto const workspace = memory.reserve(experts.workspace_bytes(rows));
  Meter const meter;
  for (auto _ : state) experts.apply(call, workspace);
  meter.report(state, kExperts * mlp_flops(rows));
}

/// The two products of the same MLP, without activation, bias, rounding or a promise about bits.
#if defined(SWITCHYARD_HAVE_CBLAS)
void openblas_sgemm(benchmark::State& state) {
  auto const rows = static_cast<int>(state.range(0));
  constexpr int kH = kHidden;
  constexpr int kI = kIntermediate;
  auto const w1 = random_values<float>(2 * kIntermediate * kHidden);
  auto const w2 = random_values<float>(kHidden * kIntermediate);
  auto const x = random_values<float>(rows * kHidden);
  std::vector<float> hidden(static_cast<std::size_t>(rows) * 2 * kI);
  std::vector<float> out(static_cast<std::size_t>(rows) * kH);
  Meter const meter;
  for (auto _ : state) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, 2 * kI, kH, 1.0f, x.data(), kH, w1.data(), kH, 0.0f,
                hidden.data(), 2 * kI);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, kH, kI, 1.0f, hidden.data(), 2 * kI, w2.data(), kI, 0.0f,
                out.data(), kH);
    benchmark::ClobberMemory();
  }
  meter.report(state, mlp_flops(rows));
}
BENCHMARK(openblas_sgemm)->Arg(256)->Arg(1024)->UseRealTime()->MeasureProcessCPUTime();
#endif

constexpr std::int64_t kQuantRows = 8192;
constexpr std::int64_t kQuantColumns = 7168;

/// Bytes read and written per second of processor time; memcpy of as many bytes is the yardstick beside it.
void report_bytes(benchmark::State& state, double start, double bytes) {
  double const seconds = processor_seconds() - start;
  state.counters["bytes"] = benchmark::Counter(bytes, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["bytes_per_core_s"] = bytes * static_cast<double>(state.iterations()) / seconds;
}

/// Same number of values as the quantisers read, written as bf16 again: rows in parallel.
void copy_rows(benchmark::State& state) {
  auto const from = random_values<switchyard::bf16_t>(kQuantRows * kQuantColumns);
  std::vector<switchyard::bf16_t> to(from.size());
  double const start = processor_seconds();
  for (auto _ : state) {
    switchyard::cpu::parallel_for(kQuantRows, 16, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to.data() + begin * kQuantColumns, from.data() + begin * kQuantColumns,
                  static_cast<std::size_t>((end - begin) * kQuantColumns) * sizeof(switchyard::bf16_t));
    });
    benchmark::ClobberMemory();
  }
  report_bytes(state, start, 4.0 * kQuantRows * kQuantColumns);
}
BENCHMARK(copy_rows)->UseRealTime();

void quantize_rows(benchmark::State& state) {
  switchyard::QuantSpec spec;
  spec.scheme = static_cast<switchyard::QuantScheme>(state.range(0));
  spec.tensor_scale = 100.0f;
  auto const from = random_values<switchyard::bf16_t>(kQuantRows * kQuantColumns);
  auto const values = switchyard::ConstTensorView::matrix(std::span(from), kQuantRows, kQuantColumns);
  auto out = switchyard::QuantizedMatrix::make(spec, kQuantRows, kQuantColumns);
  double const start = processor_seconds();
  for (auto _ : state) switchyard::cpu::quantize(spec, values, out);
  auto const bytes = from.size() * 2 + out.codes.size() + out.scales.size();
  report_bytes(state, start, static_cast<double>(bytes));
  state.SetLabel(std::string(to_string(spec.scheme)));
}
BENCHMARK(quantize_rows)->DenseRange(0, static_cast<int>(switchyard::kAllQuantSchemes.size()) - 1)->UseRealTime();

BENCHMARK(exact_mlp<float>)->Arg(16)->Arg(256)->Arg(1024)->UseRealTime()->MeasureProcessCPUTime();
BENCHMARK(exact_mlp<switchyard::bf16_t>)->Arg(256)->Arg(1024)->UseRealTime()->MeasureProcessCPUTime();

}  // namespace
