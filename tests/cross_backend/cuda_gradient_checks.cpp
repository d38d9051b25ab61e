// SPDX-License-Identifier: Apache-2.0
// The exact expert engine's backward, the join of TP partials and the gradient of router weights on the GPU against the
// CPU's, byte for byte.
#include <algorithm>
#include <numeric>
#include <random>

#include "cuda_engine_cases.hpp"
#include "cuda_experts_checks.hpp"
#include "graph_replay.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cuda/experts.hpp"

namespace cross_backend {

namespace {

namespace cpu = switchyard::cpu;
using support::Activation;
using support::GateLayout;
using Bytes = std::vector<std::byte>;

/// Gradients of one call on the CPU, in the order rows, w1, w2, b1, b2.
struct Gradients {
  Matrix d_rows, w1, w2, b1, b2;
  Gradients(EngineCase const& c, Operands const& host)
      : d_rows(support::matrix_of(output_dtype(c.mlp), c.mlp.hidden,
                                  std::vector<float>(static_cast<std::size_t>(c.rows * c.mlp.hidden), 3.0f))),
        w1(zeros(host.part.w1)),
        w2(zeros(host.part.w2)),
        b1(zeros(host.part.b1)),
        b2(zeros(host.part.b2)) {}
  static Matrix zeros(Matrix const& like) {
    return support::matrix_of(DType::f32, like.columns, std::vector<float>(like.values.size(), 5.0f));
  }
};

std::vector<std::int64_t> shuffled_rows(EngineCase const& c, std::mt19937_64& random) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(c.rows));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (RowBlock const& block : c.blocks)
    std::shuffle(order.begin() + block.first_row, order.begin() + block.first_row + block.rows, random);
  return order;
}

void check_backward(BitReport& report, EngineCase const& c, std::uint64_t seed, cuda::StreamView stream) {
  std::mt19937_64 random(seed);
  Operands const host(c, random);
  Matrix const d_output = support::random_matrix(random, c.mlp.dtype, c.rows, c.mlp.hidden);
  std::vector<std::int64_t> const order = shuffled_rows(c, random);
  Gradients expected(c, host);
  switchyard::ExpertGradientCall call;
  call.forward.rows = host.rows.view();
  call.forward.blocks = c.blocks;
  call.forward.weights = host_weights(host.part, c.biased);
  call.forward.row_weights = host.weights;
  call.d_output = d_output.view();
  call.rank_major_rows = order;
  call.d_rows = expected.d_rows.mutable_view();
  call.d_w1 = expected.w1.mutable_view();
  call.d_w2 = expected.w2.mutable_view();
  call.d_b1 = expected.b1.mutable_view();
  call.d_b2 = expected.b2.mutable_view();
  cpu::ExactExperts const engine(c.mlp);
  switchyard::WorkspaceMemory memory;
  engine.backward(call, memory.reserve(engine.backward_workspace_bytes(c.rows)));

  DeviceOperands const device(host.part, stream);
  DeviceMatrix const rows(host.rows, stream);
  DeviceMatrix const d_output_rows(d_output, stream);
  auto const row_weights = cuda::upload(host.weights, stream);
  auto const device_order = cuda::upload(order, stream);
  auto const blocks = cuda::upload(c.blocks, stream);
  cuda::DeviceExpertWeights const weights(c.mlp, device.weights(c.biased), stream);
  Gradients const start(c, host);
  DeviceMatrix const d_rows(start.d_rows, stream);
  DeviceMatrix const d_w1(start.w1, stream);
  DeviceMatrix const d_w2(start.w2, stream);
  DeviceMatrix const d_b1(start.b1, stream);
  DeviceMatrix const d_b2(start.b2, stream);
  cuda::DeviceExpertGradientCall on_device;
  on_device.forward.rows = rows.view();
  on_device.forward.blocks = blocks.as<RowBlock const>();
  on_device.forward.total_rows = c.rows;
  on_device.forward.weights = &weights;
  if (c.row_weights) on_device.forward.row_weights = row_weights.as<float const>();
  on_device.d_output = d_output_rows.view();
  on_device.rank_major_rows = device_order.as<std::int64_t const>();
  on_device.d_rows = d_rows.view();
  on_device.d_w1 = d_w1.view();
  on_device.d_w2 = d_w2.view();
  on_device.d_b1 = d_b1.view();
  on_device.d_b2 = d_b2.view();
  cuda::ExactExperts const gpu(c.mlp);
  cuda::DeviceBuffer const scratch(gpu.backward_workspace_bytes(c.rows));
  bool const captured = replay(stream, 2, [&] {
    gpu.backward(on_device, {scratch.as<std::byte>(), static_cast<std::size_t>(scratch.size_bytes())}, stream);
  });
  report.state(captured, c.name + ": backward captured in global mode and replayed");
  auto const compare = [&](std::string const& what, Matrix const& cpu_side, DeviceMatrix const& gpu_side) {
    compare_rows(report, c.name + ", " + what + ", seed " + std::to_string(seed), cpu_side.bytes,
                 cuda::download<std::byte>(gpu_side.buffer, stream),
                 {c.mlp.tp.rank, cpu_side.columns, switchyard::size_of(cpu_side.dtype), {}});
  };
  compare("d_rows", expected.d_rows, d_rows);
  compare("d_w1", expected.w1, d_w1);
  compare("d_w2", expected.w2, d_w2);
  compare("d_b1", expected.b1, d_b1);
  compare("d_b2", expected.b2, d_b2);
}

void check_gradients(BitReport& report, cuda::StreamView stream, bool few) {
  std::uint64_t seed = 900;
  for (Activation const kind : switchyard::kAllActivations)
    for (GateLayout const layout : {GateLayout::plain, GateLayout::split, GateLayout::interleaved})
      for (int const tp : {1, 4}) {
        bool const needs_gate = kind == Activation::swigluoai || kind == Activation::swiglu_limit;
        if ((needs_gate && layout == GateLayout::plain) || (few && seed++ % 7 != 0)) continue;
        DType const dtype = seed % 3 == 0 ? DType::f32 : seed % 3 == 1 ? DType::bf16 : DType::f16;
        EngineCase c{std::string("gradients ") + std::string(to_string(kind)) + " " + std::string(to_string(layout)) +
                         " " + std::string(to_string(dtype)) + " TP " + std::to_string(tp),
                     mlp_of(37, 50, 4, dtype), kStandard, 139};
        c.mlp.activation = {kind, layout, 1.25f};
        c.mlp.tp = {tp - 1, tp};
        c.row_weights = seed % 2 == 0;
        check_backward(report, c, ++seed, stream);
      }
  for (RowCase const& lie : kRowCases) {
    EngineCase const wide{std::string("gradients of several tiles,") + lie.name, mlp_of(192, 256, 4, DType::bf16),
                          lie.blocks, lie.rows};
    check_backward(report, wide, 17, stream);
  }
}

void check_join(BitReport& report, cuda::StreamView stream) {
  EngineCase c{"join of TP partials", mlp_of(37, 64, 4, DType::bf16), kStandard, 139};
  std::mt19937_64 random(77);
  for (int const tp : {1, 2, 4, 8}) {
    c.mlp.tp = {0, tp};
    Matrix const b2 = support::random_matrix(random, DType::bf16, 4, 37);
    DeviceMatrix const device_b2(b2, stream);
    std::vector<Matrix> host;
    std::vector<DeviceMatrix> device;
    std::vector<TensorView> views;
    std::vector<ConstTensorView> device_views;
    for (int rank = 0; rank < tp; ++rank) host.push_back(support::random_matrix(random, DType::f32, 139, 37));
    for (Matrix const& partial : host) device.emplace_back(partial, stream);
    for (DeviceMatrix const& partial : device) device_views.push_back(partial.view());
    for (Matrix& partial : host) views.push_back(partial.mutable_view());
    Bytes out = support::poison(139 * 37 * 2);
    cpu::finish_partials(c.mlp, views, c.blocks, b2.view(), TensorView(out.data(), DType::bf16, {139, 37}));
    DeviceMatrix const joined(DType::bf16, 139, 37, stream);
    auto const blocks = cuda::upload(c.blocks, stream);
    cuda::finish_partials(c.mlp, device_views, blocks.as<RowBlock const>(), device_b2.view(), joined.view(), stream);
    compare_rows(report, c.name + ", TP " + std::to_string(tp), out, cuda::download<std::byte>(joined.buffer, stream),
                 {0, 37, 2, c.blocks});
  }
}

void check_weight_gradient(BitReport& report, cuda::StreamView stream) {
  std::mt19937_64 random(78);
  for (DType const dtype : {DType::f32, DType::bf16, DType::f16}) {
    Matrix const rows = support::random_matrix(random, dtype, 9, 75);
    Matrix const gradient = support::random_matrix(random, dtype, 9, 75);
    Matrix const weights = support::random_matrix(random, DType::f32, 1, 9);
    Matrix d_rows = rows;
    std::vector<float> d_weights(9);
    cpu::router_weight_backward(rows.view(), weights.values, gradient.view(), d_rows.mutable_view(), d_weights);
    DeviceMatrix const device_rows(rows, stream);
    DeviceMatrix const device_gradient(gradient, stream);
    DeviceMatrix const device_weights(weights, stream);
    DeviceMatrix const device_d_rows(dtype, 9, 75, stream);
    DeviceMatrix const device_d_weights(DType::f32, 1, 9, stream);
    cuda::router_weight_backward(device_rows.view(), device_weights.view(), device_gradient.view(),
                                 device_d_rows.view(), device_d_weights.view(), stream);
    std::string const name = "router weight backward " + std::string(to_string(dtype));
    report.compare(name + ", weights", d_weights, cuda::download<float>(device_d_weights.buffer, stream));
    compare_rows(report, name + ", rows", d_rows.bytes, cuda::download<std::byte>(device_d_rows.buffer, stream),
                 {0, 75, switchyard::size_of(dtype), {}});
  }
}

}  // namespace

void check_engine_gradients(BitReport& report, cuda::StreamView stream, bool few) {
  check_gradients(report, stream, few);
  check_join(report, stream);
  check_weight_gradient(report, stream);
}

}  // namespace cross_backend
