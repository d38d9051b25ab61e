// SPDX-License-Identifier: Apache-2.0
// The exact expert engine next to the cores' fp32 FMA peak and, where it was found, OpenBLAS sgemm: expert MLPs of
// hidden 2048 and intermediate 1024 (gated), f32 and bf16, on one worker and on all. "of_peak" is the median over
// iterations of operations per second of processor time over those of a loop of nothing but fused multiply-adds, which
// runs before and after every call on as many workers (see paired_ratio.hpp).
#include <benchmark/benchmark.h>

#include <algorithm>
#include <random>
#include <vector>

#include "paired_ratio.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/parallel_for.hpp"
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

bool can_spin() {
  return __builtin_cpu_supports("avx512f") != 0;
}
#else
void spin(std::int64_t) {}
constexpr double kFlopsPerStep = 0.0;
bool can_spin() {
  return false;
}
#endif

/// Every worker does as many operations; none where the processor has no such loop.
constexpr std::int64_t kSpinSteps = 1 << 20;  // some milliseconds
void spin_on_all_workers() {
  if (!can_spin()) return;
  switchyard::cpu::parallel_for(switchyard::cpu::worker_count(), 1, [](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) spin(kSpinSteps);
  });
}

void report(benchmark::State& state, bench::PairedRatio& pairs, double flops) {
  state.counters["flops"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
  if (!can_spin()) return;
  double const spun = kFlopsPerStep * static_cast<double>(kSpinSteps * switchyard::cpu::worker_count());
  pairs.report(state, "of_peak", flops / spun);
  state.counters["core_peak"] = spun / pairs.yardstick_seconds();
}

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
  switchyard::cpu::set_worker_count(static_cast<int>(state.range(1)));
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
  bench::PairedRatio pairs;
  for (auto _ : state) pairs.run(state, spin_on_all_workers, [&] { experts.apply(call, workspace); });
  report(state, pairs, kExperts * mlp_flops(rows));
  switchyard::cpu::set_worker_count(0);
}

/// The two products of the same MLP, without activation, bias, rounding or a promise about bits; on one thread
/// (OPENBLAS_NUM_THREADS=1).
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
  switchyard::cpu::set_worker_count(1);
  auto const both_products = [&] {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, 2 * kI, kH, 1.0f, x.data(), kH, w1.data(), kH, 0.0f,
                hidden.data(), 2 * kI);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, rows, kH, kI, 1.0f, hidden.data(), 2 * kI, w2.data(), kI, 0.0f,
                out.data(), kH);
    benchmark::ClobberMemory();
  };
  bench::PairedRatio pairs;
  for (auto _ : state) pairs.run(state, spin_on_all_workers, both_products);
  report(state, pairs, mlp_flops(rows));
  switchyard::cpu::set_worker_count(0);
}
BENCHMARK(openblas_sgemm)->Arg(256)->Arg(1024)->UseManualTime();
#endif

// Rows, workers (0: all).
BENCHMARK(exact_mlp<float>)->ArgsProduct({{16, 256, 1024}, {1, 0}})->UseManualTime();
BENCHMARK(exact_mlp<switchyard::bf16_t>)->ArgsProduct({{256, 1024}, {1, 0}})->UseManualTime();

}  // namespace
