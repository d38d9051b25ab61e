// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_fast_experts <out.json>: the fast expert engine beside the rate of one large GEMM of the same dtype
// measured in the same run. "GB/s" of these lines are 10^9 multiply-adds a second: twice that are FLOP/s.
#include <cublas_v2.h>

#include <cstdio>
#include <random>

#include "bench_program.hpp"
#include "switchyard/cuda/fast_experts.hpp"
#include "switchyard/types/error.hpp"

namespace gpu_bench {
namespace {

namespace cuda = switchyard::cuda;
using switchyard::DType;

/// bf16 values around 1 of both signs; all bits of the mantissa occur. They repeat after a prime number of values.
cuda::DeviceBuffer random_values(std::int64_t count, cuda::StreamView stream) {
  constexpr std::size_t kPeriod = 1048573;
  std::mt19937 random(5);
  std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = i < kPeriod ? static_cast<std::uint16_t>(0x3f00U | (random() & 0x80ffU)) : values[i - kPeriod];
  return cuda::upload(values, stream);
}

/// The fastest that this GPU multiplies: one square bf16 GEMM. @return 10^9 multiply-adds a second.
double peak_rate(Results& results, KernelTimer& timer) {
  constexpr int kSize = 8192;
  auto const a = random_values(std::int64_t{kSize} * kSize, timer.stream());
  cuda::DeviceBuffer const c(std::int64_t{kSize} * kSize * 2);
  cublasHandle_t handle = nullptr;
  if (cublasCreate(&handle) != CUBLAS_STATUS_SUCCESS) return 0;
  static_cast<void>(cublasSetStream(handle, timer.stream().handle()));
  float const one = 1.0F;
  float const zero = 0.0F;
  bool failed = false;
  auto const samples = timer.sample([&] {
    failed |= cublasGemmEx(handle, CUBLAS_OP_T, CUBLAS_OP_N, kSize, kSize, kSize, &one, a.data(), CUDA_R_16BF, kSize,
                           a.data(), CUDA_R_16BF, kSize, &zero, c.data(), CUDA_R_16BF, kSize, CUBLAS_COMPUTE_32F,
                           CUBLAS_GEMM_DEFAULT) != CUBLAS_STATUS_SUCCESS;
  });
  static_cast<void>(cublasDestroy(handle));
  if (failed) return 0;
  double const products = static_cast<double>(kSize) * kSize * kSize;
  double const rate = products / median(samples) * 1e-3;
  results.add("one GEMM of 8192^3 (G fma)", {}, products, rate, samples);
  return rate;
}

struct Shape {
  std::int64_t hidden, intermediate, experts, rows_per_expert;
};

void bench_engine(Results& results, KernelTimer& timer, Shape const& shape, double peak) {
  auto const stream = timer.stream();
  switchyard::ExpertMlp mlp;
  mlp.hidden = shape.hidden;
  mlp.intermediate = shape.intermediate;
  mlp.num_local_experts = static_cast<int>(shape.experts);
  mlp.dtype = DType::bf16;
  mlp.rounding = switchyard::ExpertRounding::every_store(DType::bf16);
  std::int64_t const rows = shape.experts * shape.rows_per_expert;
  auto const w1 = random_values(shape.experts * 2 * shape.intermediate * shape.hidden, stream);
  auto const w2 = random_values(shape.experts * shape.intermediate * shape.hidden, stream);
  auto const x = random_values(rows * shape.hidden, stream);
  cuda::DeviceBuffer const y(rows * shape.hidden * 2);
  std::vector<switchyard::RowBlock> blocks;
  for (std::int64_t i = 0; i < shape.experts; ++i) blocks.push_back({i * shape.rows_per_expert, shape.rows_per_expert});
  switchyard::ExpertCall call;
  call.rows = x.view(DType::bf16, {rows, shape.hidden});
  call.blocks = blocks;
  call.weights.w1 = w1.view(DType::bf16, {shape.experts, 2 * shape.intermediate, shape.hidden});
  call.weights.w2 = w2.view(DType::bf16, {shape.experts, shape.hidden, shape.intermediate});
  call.output = y.view(DType::bf16, {rows, shape.hidden});
  cuda::FastExperts const engine(mlp, stream);
  results.add("fast forward " + std::to_string(shape.experts) + " x " + std::to_string(shape.rows_per_expert) +
                  " rows, " + std::to_string(shape.hidden) + " x " + std::to_string(shape.intermediate) + " (G fma)",
              {{"hidden", static_cast<double>(shape.hidden)},
               {"intermediate", static_cast<double>(shape.intermediate)},
               {"experts", static_cast<double>(shape.experts)},
               {"rows", static_cast<double>(rows)}},
              3.0 * static_cast<double>(rows) * static_cast<double>(shape.hidden * shape.intermediate), peak,
              timer.sample([&] { engine.apply(call, {}); }));
}

void run(Results& results, KernelTimer& timer) {
  double const peak = peak_rate(results, timer);
  for (Shape const& shape :
       {Shape{2048, 1024, 8, 512}, Shape{7168, 2048, 8, 256}, Shape{7168, 2048, 32, 32}, Shape{7168, 2048, 8, 4096}})
    bench_engine(results, timer, shape, peak);
}

}  // namespace
}  // namespace gpu_bench

int main(int argc, char** argv) {
  return gpu_bench::run_kernel_program(argc, argv, gpu_bench::run);
}
