// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cstdio>
#include <random>

#include "expert_matmul.hpp"
#include "fast_bench.hpp"
#include "fast_kernels.hpp"
#include "switchyard/cuda/fast_experts.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "switchyard/types/error.hpp"

namespace gpu_bench {
namespace {

namespace cuda = switchyard::cuda;
using switchyard::DType;
using switchyard::QuantScheme;
using switchyard::RowBlock;

/// bf16 values around 1 of both signs; all bits of the mantissa occur. They repeat after a prime number of values.
cuda::DeviceBuffer random_values(std::int64_t count, cuda::StreamView stream) {
  constexpr std::size_t kPeriod = 1048573;
  std::mt19937 random(5);
  std::vector<std::uint16_t> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = i < kPeriod ? static_cast<std::uint16_t>(0x3f00U | (random() & 0x80ffU)) : values[i - kPeriod];
  return cuda::upload(values, stream);
}

/// What this GPU does in a second, in 10^9.
struct Rates {
  double bf16 = 0;   ///< multiply-adds of one large product
  double codes = 0;  ///< the same of e4m3
  double bytes = 0;  ///< of a copy, read and written
};

double product_rate(Results& results, KernelTimer& timer, cudaDataType_t type, std::string const& name) {
  constexpr int kSize = 8192;
  auto const a = random_values(std::int64_t{kSize} * kSize, timer.stream());
  cuda::DeviceBuffer const c(std::int64_t{kSize} * kSize * 2);
  auto const one = cuda::upload(std::vector<float>(4, 1.0F), timer.stream());
  cuda::ExpertMatmul matmul;
  std::vector<RowBlock> const blocks{{0, kSize}};
  std::vector<float const*> const scales{one.as<float const>()};
  std::vector<std::byte const*> const right{a.as<std::byte const>()};
  cuda::ExpertProducts products;
  products.blocks = blocks;
  products.operands = type;
  products.result = CUDA_R_16BF;
  products.columns = products.steps = kSize;
  products.left = products.right = a.data();
  products.out = c.data();
  if (type == CUDA_R_8F_E4M3) {
    products.scales = cuda::ScaleSpan::matrix;
    products.left_scales = products.right_scales = scales;
    products.right_matrices = right;
  }
  auto const samples = timer.sample([&] { matmul.multiply(products, timer.stream()); });
  double const count = static_cast<double>(kSize) * kSize * kSize;
  results.add(name, {}, count, 0, samples);
  return count / median(samples) * 1e-3;
}

double copy_rate(Results& results, KernelTimer& timer) {
  constexpr std::int64_t kBytes = std::int64_t{1} << 30;
  cuda::DeviceBuffer const from(kBytes);
  cuda::DeviceBuffer const to(kBytes);
  auto const samples = timer.sample([&] { cuda::copy_device(from, to, timer.stream()); });
  results.add("device copy", {}, 2.0 * static_cast<double>(kBytes), 0, samples);
  return 2.0 * static_cast<double>(kBytes) / median(samples) * 1e-3;
}

struct Shape {
  std::int64_t hidden, intermediate, experts, rows_per_expert;
  bool even = true;  ///< else expert i has (i + 1) times as many rows as the first
};

std::vector<RowBlock> blocks_of(Shape const& shape) {
  std::vector<RowBlock> blocks;
  std::int64_t first = 0;
  for (std::int64_t i = 0; i < shape.experts; ++i) {
    std::int64_t const rows =
        shape.even ? shape.rows_per_expert : shape.rows_per_expert * 2 * (i + 1) / (shape.experts + 1);
    blocks.push_back({first, rows});
    first += rows;
  }
  return blocks;
}

switchyard::ExpertMlp mlp_of(Shape const& shape) {
  switchyard::ExpertMlp mlp;
  mlp.hidden = shape.hidden;
  mlp.intermediate = shape.intermediate;
  mlp.num_local_experts = static_cast<int>(shape.experts);
  mlp.dtype = DType::bf16;
  mlp.rounding = switchyard::ExpertRounding::every_store(DType::bf16);
  return mlp;
}

/// One shape's operands and the lines that it gives.
class ShapeBench {
 public:
  ShapeBench(Results& results, KernelTimer& timer, Shape const& shape, Rates const& rates)
      : results_(results), timer_(timer), shape_(shape), rates_(rates), blocks_(blocks_of(shape)) {
    auto const stream = timer.stream();
    rows_ = blocks_.back().first_row + blocks_.back().rows;
    w1_ = random_values(shape.experts * 2 * shape.intermediate * shape.hidden, stream);
    w2_ = random_values(shape.experts * shape.intermediate * shape.hidden, stream);
    x_ = random_values(rows_ * shape.hidden, stream);
    y_ = cuda::DeviceBuffer(rows_ * shape.hidden * 2);
    call_.rows = x_.view(DType::bf16, {rows_, shape.hidden});
    call_.blocks = blocks_;
    call_.weights.w1 = w1_.view(DType::bf16, {shape.experts, 2 * shape.intermediate, shape.hidden});
    call_.weights.w2 = w2_.view(DType::bf16, {shape.experts, shape.hidden, shape.intermediate});
    call_.output = y_.view(DType::bf16, {rows_, shape.hidden});
  }

  void forward() {
    cuda::FastExperts const engine(mlp_of(shape_), timer_.stream());
    add("fast forward", 3, rates_.bf16, 6 * weights() + 4 * values(), [&] { engine.apply(call_, {}); });
  }

  void biased_forward() {
    cuda::FastExperts const engine(mlp_of(shape_), timer_.stream());
    cuda::DeviceBuffer const b1 = random_values(shape_.experts * 2 * shape_.intermediate, timer_.stream());
    cuda::DeviceBuffer const b2 = random_values(shape_.experts * shape_.hidden, timer_.stream());
    switchyard::ExpertCall call = call_;
    call.weights.b1 = b1.view(DType::bf16, {shape_.experts, 2 * shape_.intermediate});
    call.weights.b2 = b2.view(DType::bf16, {shape_.experts, shape_.hidden});
    add("fast forward, biases", 3, rates_.bf16, 6 * weights() + 4 * values(), [&] { engine.apply(call, {}); });
  }

  void backward() {
    cuda::FastExperts const engine(mlp_of(shape_), timer_.stream());
    cuda::DeviceBuffer const d_w1(w1_.size_bytes() * 2);
    cuda::DeviceBuffer const d_w2(w2_.size_bytes() * 2);
    switchyard::ExpertGradientCall call;
    call.forward = call_;
    call.d_output = call_.rows;
    call.d_rows = call_.output;
    call.d_w1 = d_w1.view(DType::f32, {shape_.experts, 2 * shape_.intermediate, shape_.hidden});
    call.d_w2 = d_w2.view(DType::f32, {shape_.experts, shape_.hidden, shape_.intermediate});
    add("fast backward", 8, rates_.bf16, 18 * weights() + 6 * values(), [&] { engine.backward(call, {}); });
  }

  void codes(QuantScheme scheme) {
    switchyard::QuantSpec spec;
    spec.scheme = scheme;
    switchyard::ExpertMlp mlp = mlp_of(shape_);
    mlp.input_quant = spec;
    mlp.activation_quant = spec;
    cuda::FastExperts const engine(mlp, timer_.stream());
    auto const first = coded(spec, w1_, 2 * shape_.intermediate, shape_.hidden);
    auto const second = coded(spec, w2_, shape_.hidden, shape_.intermediate);
    auto const w1 = views_of(first);
    auto const w2 = views_of(second);
    switchyard::ExpertCall call = call_;
    call.weights.w1_codes = w1;
    call.weights.w2_codes = w2;
    add(std::string("fast forward, ").append(to_string(scheme)), 3, rates_.codes, 3 * weights() + 4 * values(),
        [&] { engine.apply(call, {}); });
  }

  void parts() {
    cuda::ExpertMatmul matmul;
    std::int64_t const outputs = 2 * shape_.intermediate;
    cuda::DeviceBuffer const hidden(rows_ * outputs * 2);
    cuda::DeviceBuffer const activation(rows_ * shape_.intermediate * 2);
    cuda::ExpertProducts products;
    products.blocks = blocks_;
    products.operands = products.result = CUDA_R_16BF;
    products.left = x_.data();
    products.right = w1_.data();
    products.out = hidden.data();
    products.columns = outputs;
    products.steps = shape_.hidden;
    add("  first layer", 2, rates_.bf16, 4 * weights() + 2 * values(),
        [&] { matmul.multiply(products, timer_.stream()); });
    cuda::FastActivationJob job;
    job.dtype = job.gate_rounding = DType::bf16;
    job.units = shape_.intermediate;
    job.hidden = hidden.data();
    job.activation = activation.data();
    auto const bytes = static_cast<double>(hidden.size_bytes() + activation.size_bytes());
    results_.add("  activation" + size(), {}, bytes, rates_.bytes,
                 timer_.sample([&] { cuda::launch_fast_activation(blocks_, job, timer_.stream()); }));
    products.left = activation.data();
    products.right = w2_.data();
    products.out = y_.data();
    products.columns = shape_.hidden;
    products.steps = shape_.intermediate;
    add("  second layer", 1, rates_.bf16, 2 * weights() + 2 * values(),
        [&] { matmul.multiply(products, timer_.stream()); });
  }

 private:
  using Codes = std::vector<cuda::DeviceQuantizedMatrix>;

  /// Elements of w2, and of the rows.
  [[nodiscard]] double weights() const {
    return static_cast<double>(shape_.experts) * static_cast<double>(shape_.hidden * shape_.intermediate);
  }
  [[nodiscard]] double values() const { return static_cast<double>(rows_ * shape_.hidden); }
  [[nodiscard]] std::string size() const {
    std::string text(" ");
    text.append(std::to_string(shape_.experts)).append(" x ").append(std::to_string(shape_.rows_per_expert));
    text.append(shape_.even ? " rows, " : " rows uneven, ").append(std::to_string(shape_.hidden)).append(" x ");
    return text.append(std::to_string(shape_.intermediate));
  }
  void add(std::string const& what, double factor, double rate, double bytes, std::function<void()> const& work) {
    double const products =
        factor * static_cast<double>(rows_) * static_cast<double>(shape_.hidden * shape_.intermediate);
    double const floor_us = std::max(products / rate, bytes / rates_.bytes) * 1e-3;
    results_.add(what + size(),
                 {{"hidden", static_cast<double>(shape_.hidden)},
                  {"intermediate", static_cast<double>(shape_.intermediate)},
                  {"experts", static_cast<double>(shape_.experts)},
                  {"rows", static_cast<double>(rows_)}},
                 products, products / floor_us * 1e-3, timer_.sample(work));
  }
  Codes coded(switchyard::QuantSpec const& spec, cuda::DeviceBuffer const& from, std::int64_t lines,
              std::int64_t columns) const {
    Codes all;
    for (std::int64_t expert = 0; expert < shape_.experts; ++expert) {
      all.push_back(cuda::DeviceQuantizedMatrix::make(spec, lines, columns));
      switchyard::ConstTensorView const matrix(from.as<std::byte>() + expert * lines * columns * 2, DType::bf16,
                                               {lines, columns}, switchyard::MemorySpace::device);
      cuda::quantize(spec, matrix, all.back(), timer_.stream());
      if (spec.scheme == QuantScheme::fp8_group) share_scales(all.back());
    }
    return all;
  }
  /// One scale for the rows of 128 x 128 codes, as such weights have them: here always 1.
  void share_scales(cuda::DeviceQuantizedMatrix& matrix) const {
    matrix.layout.group_rows = matrix.layout.group_columns;
    auto const sizes = quant_sizes(matrix.layout, matrix.rows, matrix.columns);
    std::vector<float> const ones(static_cast<std::size_t>(sizes.row_groups * sizes.column_groups), 1.0F);
    matrix.scales = cuda::upload(ones, timer_.stream());
  }
  static std::vector<switchyard::QuantizedView> views_of(Codes const& codes) {
    std::vector<switchyard::QuantizedView> views;
    for (auto const& matrix : codes) views.push_back(matrix.view());
    return views;
  }

  Results& results_;
  KernelTimer& timer_;
  Shape shape_;
  Rates rates_;
  std::vector<RowBlock> blocks_;
  std::int64_t rows_ = 0;
  cuda::DeviceBuffer w1_, w2_, x_, y_;
  switchyard::ExpertCall call_{};
};

}  // namespace

bool has_fast_experts() noexcept {
  return true;
}

void bench_fast_experts(Results& results, KernelTimer& timer) {
  Rates rates;
  rates.bytes = copy_rate(results, timer);
  rates.bf16 = product_rate(results, timer, CUDA_R_16BF, "one product of 8192^3, bf16 (G fma)");
  rates.codes = product_rate(results, timer, CUDA_R_8F_E4M3, "one product of 8192^3, e4m3 (G fma)");
  for (Shape const& shape : {Shape{2048, 1024, 8, 512}, Shape{7168, 2048, 8, 256}, Shape{7168, 2048, 8, 256, false},
                             Shape{7168, 2048, 32, 32}, Shape{7168, 2048, 32, 32, false}, Shape{7168, 2048, 8, 4096},
                             Shape{7168, 2048, 8, 4096, false}}) {
    ShapeBench bench(results, timer, shape, rates);
    bench.forward();
    bench.biased_forward();
    bench.parts();
    bench.backward();
    for (QuantScheme const scheme : {QuantScheme::fp8_tensor, QuantScheme::fp8_token, QuantScheme::fp8_group})
      bench.codes(scheme);
  }
}

}  // namespace gpu_bench
