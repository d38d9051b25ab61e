// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_fast_parts <out.json>: the parts of the fast expert engine one by one (products in every direction and
// type, by lanes; activations; tables), beside one large GEMM and a device copy of the same run. "GB/s" of products are
// 10^9 multiply-adds a second.
#include <cublas_v2.h>
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>
#include <random>

#include "bench_program.hpp"
#include "expert_kernels.hpp"
#include "expert_matmul.hpp"
#include "fast_kernels.hpp"
#include "grouped_gemm.hpp"
#include "switchyard/types/error.hpp"

namespace gpu_bench {
namespace {

namespace cuda = switchyard::cuda;
using switchyard::DType;
using switchyard::RowBlock;

struct Shape {
  std::int64_t hidden, intermediate, experts, rows_per_expert;
};

cuda::DeviceBuffer random_values(std::int64_t count, cuda::StreamView stream) {
  constexpr std::size_t kPeriod = 1048573;
  std::mt19937 random(5);
  std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = i < kPeriod ? static_cast<std::uint16_t>(0x3f00U | (random() & 0x80ffU)) : values[i - kPeriod];
  return cuda::upload(values, stream);
}

double peak_rate(Results& results, KernelTimer& timer) {
  constexpr int kSize = 8192;
  auto const a = random_values(std::int64_t{kSize} * kSize, timer.stream());
  cuda::DeviceBuffer const c(std::int64_t{kSize} * kSize * 2);
  cuda::ExpertMatmul matmul({1, 0});
  std::vector<RowBlock> const blocks{{0, kSize}};
  cuda::ExpertProducts products;
  products.blocks = blocks;
  products.operands = products.result = CUDA_R_16BF;
  products.columns = products.steps = kSize;
  products.left = products.right = a.data();
  products.out = c.data();
  auto const samples = timer.sample([&] { matmul.multiply(products, timer.stream()); });
  double const count = static_cast<double>(kSize) * kSize * kSize;
  results.add("one product of 8192^3", {}, count, 0, samples);
  return count / median(samples) * 1e-3;
}

class Parts {
 public:
  Parts(Results& results, KernelTimer& timer, Shape const& shape, double peak)
      : results_(results), timer_(timer), shape_(shape), peak_(peak), rows_(shape.experts * shape.rows_per_expert) {
    auto const stream = timer.stream();
    w1_ = random_values(shape.experts * 2 * shape.intermediate * shape.hidden, stream);
    w2_ = random_values(shape.experts * shape.intermediate * shape.hidden, stream);
    x_ = random_values(rows_ * shape.hidden, stream);
    h_ = random_values(rows_ * 2 * shape.intermediate, stream);
    a_ = cuda::DeviceBuffer(rows_ * shape.intermediate * 4);
    y_ = cuda::DeviceBuffer(rows_ * shape.hidden * 4);
    floats_ = cuda::DeviceBuffer(rows_ * 2 * shape.intermediate * 4);
    gradient_ = cuda::DeviceBuffer(shape.experts * 2 * shape.intermediate * shape.hidden * 4);
    for (std::int64_t i = 0; i < shape.experts; ++i)
      blocks_.push_back({i * shape.rows_per_expert, shape.rows_per_expert});
    scale_ = cuda::upload(std::vector<float>(static_cast<std::size_t>(2 * rows_ + 32768), 1.0F), stream);
  }

  void run() {
    grouped();
    batched();
    for (int const streams : {1, 2, 4, 8})
      for (bool const shared : {false, true})
        if (streams > 1 || !shared) forward(streams, shared ? 132 / streams : 0);
    for (int const streams : {1, 4, 8}) backward(streams, 0);
    backward(8, 16);
    for (int const streams : {1, 4, 8}) codes(streams, 0);
    codes(8, 16);
    activations();
    tables();
  }

 private:
  void add(std::string const& what, double factor, std::function<void()> const& work) {
    std::string const name = what + ", " + std::to_string(shape_.experts) + " x " +
                             std::to_string(shape_.rows_per_expert) + ", " + std::to_string(shape_.hidden) + " x " +
                             std::to_string(shape_.intermediate);
    try {
      auto const samples = timer_.sample(work);
      results_.add(name, {}, factor * static_cast<double>(rows_ * shape_.hidden * shape_.intermediate), peak_, samples);
      if (factor == 0) return;
      double issue = 1e30;
      for (int i = 0; i < 5; ++i) {
        auto const begin = std::chrono::steady_clock::now();
        work();
        issue = std::min(issue,
                         std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count());
        timer_.stream().synchronize();
      }
      std::printf("    host %.1f us\n", issue);
    } catch (std::exception const& error) {
      std::printf("%-52s %s\n", name.c_str(), error.what());
      static_cast<void>(cudaGetLastError());
    }
  }

  void grouped() {
    cuda::GroupedGemm gemm;
    add("grouped fc1", 2, [&] {
      gemm.multiply({blocks_, DType::bf16, x_.data(), w1_.data(), h_.data(), shape_.hidden, 2 * shape_.intermediate},
                    timer_.stream());
    });
    add("grouped fc2", 1, [&] {
      gemm.multiply({blocks_, DType::bf16, a_.data(), w2_.data(), y_.data(), shape_.intermediate, shape_.hidden},
                    timer_.stream());
    });
  }

  /// All experts have equally many rows here, so one strided batch is the most that one call can give.
  void batched() {
    cublasHandle_t handle = nullptr;
    static_cast<void>(cublasCreate(&handle));
    static_cast<void>(cublasSetStream(handle, timer_.stream().handle()));
    float const one = 1.0F;
    float const zero = 0.0F;
    auto const product = [&](void const* left, void const* right, void* out, std::int64_t columns, std::int64_t steps) {
      std::int64_t const rows = shape_.rows_per_expert;
      static_cast<void>(cublasGemmStridedBatchedEx(
          handle, CUBLAS_OP_T, CUBLAS_OP_N, static_cast<int>(columns), static_cast<int>(rows), static_cast<int>(steps),
          &one, right, CUDA_R_16BF, static_cast<int>(steps), columns * steps, left, CUDA_R_16BF,
          static_cast<int>(steps), rows * steps, &zero, out, CUDA_R_16BF, static_cast<int>(columns), rows * columns,
          static_cast<int>(shape_.experts), CUBLAS_COMPUTE_32F, CUBLAS_GEMM_DEFAULT));
    };
    add("strided batch fc1", 2,
        [&] { product(x_.data(), w1_.data(), h_.data(), 2 * shape_.intermediate, shape_.hidden); });
    add("strided batch fc2", 1, [&] { product(a_.data(), w2_.data(), y_.data(), shape_.hidden, shape_.intermediate); });
    static_cast<void>(cublasDestroy(handle));
  }

  [[nodiscard]] cuda::ExpertProducts products(cuda::ChainLines lines, void const* left, void const* right, void* out,
                                              std::int64_t columns, std::int64_t steps) const {
    cuda::ExpertProducts on;
    on.blocks = blocks_;
    on.lines = lines;
    on.operands = on.result = CUDA_R_16BF;
    on.left = left;
    on.right = right;
    on.out = out;
    on.columns = columns;
    on.steps = steps;
    return on;
  }
  static std::string lanes_name(int streams, int target) {
    return std::to_string(streams) + " streams" + (target == 0 ? "" : " of " + std::to_string(target) + " SMs");
  }
  void forward(int streams, int target) {
    cuda::ExpertMatmul matmul({streams, target});
    auto const first = products(cuda::ChainLines::both_along, x_.data(), w1_.data(), h_.data(), 2 * shape_.intermediate,
                                shape_.hidden);
    auto const second =
        products(cuda::ChainLines::both_along, a_.data(), w2_.data(), y_.data(), shape_.hidden, shape_.intermediate);
    add("lt fc1 " + lanes_name(streams, target), 2, [&] { matmul.multiply(first, timer_.stream()); });
    add("lt fc2 " + lanes_name(streams, target), 1, [&] { matmul.multiply(second, timer_.stream()); });
  }
  void backward(int streams, int target) {
    cuda::ExpertMatmul matmul({streams, target});
    auto d_activation =
        products(cuda::ChainLines::right_across, x_.data(), w2_.data(), a_.data(), shape_.intermediate, shape_.hidden);
    d_activation.result = CUDA_R_32F;
    auto const d_input = products(cuda::ChainLines::right_across, h_.data(), w1_.data(), y_.data(), shape_.hidden,
                                  2 * shape_.intermediate);
    auto d_w1 = products(cuda::ChainLines::both_across, h_.data(), x_.data(), gradient_.data(), shape_.hidden, 0);
    d_w1.rows = 2 * shape_.intermediate;
    d_w1.result = CUDA_R_32F;
    auto d_w2 = products(cuda::ChainLines::both_across, x_.data(), a_.data(), gradient_.data(), shape_.intermediate, 0);
    d_w2.rows = shape_.hidden;
    d_w2.result = CUDA_R_32F;
    auto const name = lanes_name(streams, target);
    add("lt d activation " + name, 1, [&] { matmul.multiply(d_activation, timer_.stream()); });
    add("lt d input " + name, 2, [&] { matmul.multiply(d_input, timer_.stream()); });
    add("lt d w1 " + name, 2, [&] { matmul.multiply(d_w1, timer_.stream()); });
    add("lt d w2 " + name, 1, [&] { matmul.multiply(d_w2, timer_.stream()); });
  }
  void codes(int streams, int target) {
    cuda::ExpertMatmul matmul({streams, target});
    auto first = products(cuda::ChainLines::both_along, x_.data(), w1_.data(), h_.data(), 2 * shape_.intermediate,
                          shape_.hidden);
    first.operands = CUDA_R_8F_E4M3;
    first.left_scales = scale_.as<float const>();
    std::vector<float const*> const right(blocks_.size(), scale_.as<float const>());
    first.right_scales = right;
    for (auto const span : {cuda::ScaleSpan::matrix, cuda::ScaleSpan::line}) {
      first.scales = span;
      add(std::string("lt fp8 fc1, scale per ") + (span == cuda::ScaleSpan::matrix ? "matrix " : "line ") +
              lanes_name(streams, target),
          2, [&] { matmul.multiply(first, timer_.stream()); });
    }
  }
  void activations() {
    switchyard::ActivationSpec const spec{};
    cuda::FastActivationJob job;
    job.dtype = DType::bf16;
    job.units = shape_.intermediate;
    job.spec = spec;
    job.gate_rounding = DType::bf16;
    job.hidden = h_.data();
    job.activation = a_.data();
    add("activation, packs", 0, [&] { cuda::launch_fast_activation(blocks_, job, timer_.stream()); });
    cuda::FastGradientJob gradient{job, floats_.as<float const>(), y_.data()};
    gradient.forward.activation = a_.data();
    add("activation gradient, packs", 0, [&] { cuda::launch_fast_gradient(blocks_, gradient, timer_.stream()); });
    auto const blocks = cuda::upload(blocks_, timer_.stream());
    cuda::ActivationJob exact;
    exact.blocks = blocks.as<RowBlock const>();
    exact.experts = static_cast<int>(shape_.experts);
    exact.total_rows = rows_;
    exact.units = shape_.intermediate;
    exact.spec = spec;
    exact.rounding = switchyard::ExpertRounding::every_store(DType::bf16);
    exact.hidden = floats_.as<float const>();
    exact.activation = a_.as<float>();
    add("activation, exact engine's kernel alone", 0, [&] { cuda::launch_activation(exact, timer_.stream()); });
    cuda::DeviceBuffer const copy(h_.size_bytes());
    add("copy of the hidden values", 0, [&] { cuda::copy_device(h_, copy, timer_.stream()); });
  }
  void tables() {
    std::vector<void*> const table(static_cast<std::size_t>(3 * shape_.experts));
    cuda::DeviceBuffer const device(static_cast<std::int64_t>(table.size() * sizeof(void*)));
    add("table from pageable memory", 0, [&] {
      static_cast<void>(cudaMemcpyAsync(device.data(), table.data(), table.size() * sizeof(void*),
                                        cudaMemcpyHostToDevice, timer_.stream().handle()));
    });
  }

  Results& results_;
  KernelTimer& timer_;
  Shape shape_;
  double peak_;
  std::int64_t rows_;
  std::vector<RowBlock> blocks_{};
  cuda::DeviceBuffer w1_, w2_, x_, h_, a_, y_, floats_, gradient_, scale_;
};

void run(Results& results, KernelTimer& timer) {
  double const peak = peak_rate(results, timer);
  for (Shape const& shape :
       {Shape{2048, 1024, 8, 512}, Shape{7168, 2048, 8, 256}, Shape{7168, 2048, 32, 32}, Shape{7168, 2048, 8, 4096}})
    Parts(results, timer, shape, peak).run();
}

}  // namespace
}  // namespace gpu_bench

int main(int argc, char** argv) {
  return gpu_bench::run_kernel_program(argc, argv, gpu_bench::run);
}
