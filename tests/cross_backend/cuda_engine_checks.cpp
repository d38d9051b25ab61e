// SPDX-License-Identifier: Apache-2.0
// The exact expert engine on the GPU against the CPU's, byte for byte: activations, layouts, dtypes, TP sizes, formats,
// codes of every kind, and the backward. Outputs start as poison, so rows outside the blocks are compared too.
#include <algorithm>
#include <limits>
#include <numeric>
#include <optional>
#include <random>

#include "cuda_experts_checks.hpp"
#include "graph_replay.hpp"
#include "row_report.hpp"
#include "support/expert_cases.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/cuda/experts.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace {

namespace cpu = switchyard::cpu;
namespace cuda = switchyard::cuda;
using namespace std::string_literals;
using support::Activation;
using support::ConstTensorView;
using support::DType;
using support::ExpertMlp;
using support::ExpertOperands;
using support::GateLayout;
using support::Matrix;
using support::TensorView;
using switchyard::MemorySpace;
using switchyard::QuantizedMatrix;
using switchyard::QuantizedView;
using switchyard::QuantScheme;
using switchyard::QuantSpec;
using switchyard::RowBlock;
using switchyard::TensorShape;
using Bytes = std::vector<std::byte>;

/// A matrix on the device.
struct DeviceMatrix {
  DType dtype;
  TensorShape shape;
  cuda::DeviceBuffer buffer;

  DeviceMatrix(Matrix const& host, cuda::StreamView stream)
      : dtype(host.dtype), shape{host.rows(), host.columns}, buffer(cuda::upload(host.bytes, stream)) {}
  DeviceMatrix(DType type, std::int64_t rows, std::int64_t columns, cuda::StreamView stream)
      : dtype(type), shape{rows, columns}, buffer(rows * columns * switchyard::size_of(type)) {
    fill_bytes(buffer, 0xa5, stream);
  }
  [[nodiscard]] TensorView view() const { return buffer.view(dtype, shape); }
};

struct DeviceOperands {
  DeviceMatrix w1, w2, b1, b2;
  DeviceOperands(ExpertOperands const& host, cuda::StreamView stream)
      : w1(host.w1, stream), w2(host.w2, stream), b1(host.b1, stream), b2(host.b2, stream) {}
  [[nodiscard]] switchyard::ExpertWeights weights(bool biased) const {
    switchyard::ExpertWeights weights;
    weights.w1 = w1.view();
    weights.w2 = w2.view();
    if (biased) weights.b1 = b1.view();
    if (biased) weights.b2 = b2.view();
    return weights;
  }
};

switchyard::ExpertWeights host_weights(ExpertOperands const& w, bool biased) {
  switchyard::ExpertWeights weights;
  weights.w1 = w.w1.view();
  weights.w2 = w.w2.view();
  if (biased) weights.b1 = w.b1.view();
  if (biased) weights.b2 = w.b2.view();
  return weights;
}

struct EngineCase {
  std::string name;
  ExpertMlp mlp;
  std::vector<RowBlock> blocks;
  std::int64_t rows = 0;
  bool biased = true;
  bool row_weights = false;
};

/// One call's operands on both sides.
struct Operands {
  Operands(EngineCase const& c, std::mt19937_64& random)
      : whole(support::random_weights(random, whole_of(c.mlp))),
        part(c.mlp.tp.size == 1 ? whole : support::tp_slice(whole, whole_of(c.mlp), c.mlp)),
        rows(support::random_matrix(random, c.mlp.dtype, c.rows, c.mlp.hidden)) {
    std::uniform_real_distribution<float> weight(0.1f, 0.9f);
    if (c.row_weights)
      for (std::int64_t i = 0; i < c.rows; ++i) weights.push_back(weight(random));
  }
  static ExpertMlp whole_of(ExpertMlp mlp) {
    mlp.tp = {};
    return mlp;
  }
  ExpertOperands whole;
  ExpertOperands part;
  Matrix rows;
  std::vector<float> weights;
};

DType output_dtype(ExpertMlp const& mlp) {
  return mlp.tp.size == 1 ? mlp.dtype : DType::f32;
}

RowNames names_of(EngineCase const& c) {
  return {c.mlp.tp.rank, c.mlp.hidden, switchyard::size_of(output_dtype(c.mlp)), c.blocks};
}

Bytes run_cpu(EngineCase const& c, switchyard::ExpertCall call) {
  DType const dtype = output_dtype(c.mlp);
  Bytes out = support::poison(static_cast<std::size_t>(c.rows * c.mlp.hidden * switchyard::size_of(dtype)));
  call.blocks = c.blocks;
  call.output = TensorView(out.data(), dtype, {c.rows, c.mlp.hidden});
  cpu::ExactExperts const engine(c.mlp);
  switchyard::WorkspaceMemory memory;
  engine.apply(call, memory.reserve(engine.workspace_bytes(c.rows)));
  return out;
}

/// Captured, and replayed twice over poison.
Bytes run_gpu(BitReport& report, EngineCase const& c, cuda::DeviceExpertCall call, cuda::StreamView stream) {
  auto const blocks = cuda::upload(c.blocks, stream);
  DeviceMatrix const out(output_dtype(c.mlp), c.rows, c.mlp.hidden, stream);
  cuda::ExactExperts const engine(c.mlp);
  cuda::DeviceBuffer const memory(engine.workspace_bytes(c.rows));
  call.blocks = blocks.as<RowBlock const>();
  call.total_rows = c.rows;
  call.output = out.view();
  std::span<std::byte> const workspace(memory.as<std::byte>(), static_cast<std::size_t>(memory.size_bytes()));
  fill_bytes(memory, 0xff, stream);
  bool const captured = replay(stream, 2, [&] {
    fill_bytes(out.buffer, 0xa5, stream);
    engine.apply(call, workspace, stream);
  });
  if (!captured) report.state(false, c.name + ": not captured");
  return cuda::download<std::byte>(out.buffer, stream);
}

void check_forward(BitReport& report, EngineCase const& c, std::uint64_t seed, cuda::StreamView stream) {
  std::mt19937_64 random(seed);
  Operands const host(c, random);
  switchyard::ExpertCall call;
  call.rows = host.rows.view();
  call.weights = host_weights(host.part, c.biased);
  call.row_weights = host.weights;
  DeviceOperands const device(host.part, stream);
  DeviceMatrix const rows(host.rows, stream);
  auto const row_weights = cuda::upload(host.weights, stream);
  cuda::DeviceExpertWeights const weights(c.mlp, device.weights(c.biased), stream);
  cuda::DeviceExpertCall on_device;
  on_device.rows = rows.view();
  on_device.weights = &weights;
  if (c.row_weights) on_device.row_weights = row_weights.as<float const>();
  compare_rows(report, c.name + ", seed " + std::to_string(seed), run_cpu(c, call),
               run_gpu(report, c, on_device, stream), names_of(c));
}

ExpertMlp mlp_of(std::int64_t hidden, std::int64_t intermediate, int experts, DType dtype) {
  ExpertMlp mlp;
  mlp.hidden = hidden;
  mlp.intermediate = intermediate;
  mlp.num_local_experts = experts;
  mlp.dtype = dtype;
  mlp.rounding = switchyard::ExpertRounding::every_store(dtype);
  return mlp;
}

std::vector<RowBlock> const kStandard = {{0, 5}, {5, 0}, {5, 131}, {136, 3}};
std::vector<RowBlock> const kBatched = {{0, 5}, {40, 0}, {80, 40}, {120, 3}};

void check_forms(BitReport& report, cuda::StreamView stream, bool few) {
  std::uint64_t seed = 1;
  for (Activation const kind : switchyard::kAllActivations)
    for (GateLayout const layout : {GateLayout::plain, GateLayout::split, GateLayout::interleaved})
      for (DType const dtype : {DType::f32, DType::bf16, DType::f16}) {
        bool const needs_gate = kind == Activation::swigluoai || kind == Activation::swiglu_limit;
        if ((needs_gate && layout == GateLayout::plain) || (few && seed++ % 5 != 0)) continue;
        EngineCase c{"experts "s + std::string(to_string(kind)) + " " + std::string(to_string(layout)) + " " +
                         std::string(to_string(dtype)),
                     mlp_of(37, 26, 4, dtype), kStandard, 139};
        c.mlp.activation = {kind, layout, 1.25f};
        c.row_weights = seed % 3 == 0;
        check_forward(report, c, ++seed, stream);
      }
}

void check_shapes(BitReport& report, cuda::StreamView stream, bool few) {
  struct Shape {
    std::int64_t hidden, intermediate;
  };
  std::vector<Shape> shapes = {{1, 1}, {64, 128}, {130, 5}};
  if (!few) shapes.insert(shapes.end(), {{256, 512}, {200, 136}, {17, 260}, {512, 33}});
  for (Shape const& shape : shapes)
    for (int const tp : {1, 2, 4, 8})
      for (bool const batched : {false, true}) {
        EngineCase c{"experts H "s + std::to_string(shape.hidden) + " I " + std::to_string(shape.intermediate) +
                         " TP " + std::to_string(tp) + (batched ? " batched" : " standard"),
                     mlp_of(shape.hidden, shape.intermediate, 4, DType::bf16), batched ? kBatched : kStandard,
                     batched ? 160 : 139};
        c.mlp.tp = {tp - 1, tp};
        c.biased = !batched;
        check_forward(report, c, static_cast<std::uint64_t>(shape.hidden * 8 + tp), stream);
      }
  EngineCase none{"experts without rows", mlp_of(8, 16, 3, DType::bf16), {{0, 0}, {0, 0}, {0, 0}}, 0};
  check_forward(report, none, 3, stream);
}

/// Experts' weights as codes, both sides.
struct CodedWeights {
  std::vector<QuantizedMatrix> host;
  std::vector<cuda::DeviceQuantizedMatrix> device;
  std::vector<QuantizedView> host_views;
  std::vector<QuantizedView> device_views;

  void add(QuantizedMatrix matrix, cuda::StreamView stream) {
    device.push_back(cuda::DeviceQuantizedMatrix::copy_of(matrix.view(), stream));
    host.push_back(std::move(matrix));
  }
  void finish() {
    for (auto const& matrix : host) host_views.push_back(matrix.view());
    for (auto const& matrix : device) device_views.push_back(matrix.view());
  }
};

ConstTensorView lines_of(Matrix const& matrix, std::int64_t first, std::int64_t count) {
  return {matrix.bytes.data() + first * matrix.columns * switchyard::size_of(matrix.dtype),
          matrix.dtype,
          {count, matrix.columns}};
}

/// @param weight_only 4 or 8 bits with zero points, else `spec`
CodedWeights code_weights(Matrix const& all, int experts, QuantSpec const& spec, int weight_only,
                          cuda::StreamView stream) {
  CodedWeights coded;
  std::int64_t const lines = all.rows() / experts;
  switchyard::WeightQuantSpec integers;
  integers.bits = weight_only;
  integers.symmetric = false;
  integers.group_columns = 16;
  for (int e = 0; e < experts; ++e) {
    auto const view = lines_of(all, e * lines, lines);
    coded.add(weight_only != 0 ? cpu::quantize_weights(integers, view) : cpu::quantize(spec, view), stream);
  }
  coded.finish();
  return coded;
}

struct CodedCase {
  std::optional<QuantSpec> rows;  ///< quantised by the engine, or before when `brought`
  std::optional<QuantSpec> activations;
  bool brought = false;
  std::optional<QuantSpec> weights;  ///< nothing: plain
  int weight_only = 0;
};

void check_codes(BitReport& report, std::string const& name, CodedCase const& coded, std::uint64_t seed,
                 cuda::StreamView stream) {
  EngineCase c{name, mlp_of(80, 136, 4, DType::bf16), kStandard, 139};
  c.mlp.activation_quant = coded.activations;
  if (!coded.brought) c.mlp.input_quant = coded.rows;
  std::mt19937_64 random(seed);
  Operands const host(c, random);
  DeviceOperands const device(host.part, stream);
  DeviceMatrix const rows(host.rows, stream);
  switchyard::ExpertCall call;
  call.rows = host.rows.view();
  call.weights = host_weights(host.part, true);
  auto on_device_weights = device.weights(true);
  CodedWeights w1;
  CodedWeights w2;
  if (coded.weights || coded.weight_only != 0) {
    QuantSpec const spec = coded.weights.value_or(QuantSpec{});
    w1 = code_weights(host.part.w1, 4, spec, coded.weight_only, stream);
    w2 = code_weights(host.part.w2, 4, spec, coded.weight_only, stream);
    call.weights.w1_codes = w1.host_views;
    call.weights.w2_codes = w2.host_views;
    on_device_weights.w1_codes = w1.device_views;
    on_device_weights.w2_codes = w2.device_views;
  }
  cuda::DeviceExpertWeights const weights(c.mlp, on_device_weights, stream);
  cuda::DeviceExpertCall on_device;
  on_device.rows = rows.view();
  on_device.weights = &weights;
  QuantizedMatrix host_rows;
  cuda::DeviceQuantizedMatrix device_rows;
  QuantizedView host_view;
  QuantizedView device_view;
  if (coded.brought) {
    host_rows = cpu::quantize(*coded.rows, host.rows.view());
    device_rows = cuda::DeviceQuantizedMatrix::copy_of(host_rows.view(), stream);
    host_view = host_rows.view();
    device_view = device_rows.view();
    call.row_codes = &host_view;
    on_device.row_codes = &device_view;
  }
  compare_rows(report, name, run_cpu(c, call), run_gpu(report, c, on_device, stream), names_of(c));
}

QuantSpec spec_of(QuantScheme scheme, std::int64_t group) {
  QuantSpec spec;
  spec.scheme = scheme;
  spec.group_columns = group;
  spec.given_scale = 0.01f;
  spec.tensor_scale = 40.0f;
  return spec;
}

void check_quantised(BitReport& report, cuda::StreamView stream, bool few) {
  std::uint64_t seed = 500;
  for (QuantScheme const scheme : switchyard::kAllQuantSchemes) {
    if (scheme == QuantScheme::fp8_tensor_dynamic || (few && seed++ % 4 != 0)) continue;
    QuantSpec const spec = spec_of(scheme, 16);
    std::string const name = "codes of " + std::string(to_string(scheme));
    check_codes(report, name + " in all places", {spec, spec, false, spec, 0}, ++seed, stream);
    check_codes(report, name + " brought, plain weights", {spec, {}, true, {}, 0}, ++seed, stream);
    check_codes(report, name + " in weights only", {{}, {}, false, spec, 0}, ++seed, stream);
  }
  for (int const bits : {4, 8})
    check_codes(report, "weights of " + std::to_string(bits) + " bits with zero points", {{}, {}, false, {}, bits},
                ++seed, stream);
  QuantSpec const token = spec_of(QuantScheme::int8_token, 128);
  QuantSpec const group = spec_of(QuantScheme::int8_group, 24);
  check_codes(report, "int8 rows per token, weights in groups of 24", {token, token, false, group, 0}, ++seed, stream);
  check_codes(report, "int8 rows in groups of 24, weights per line", {group, group, true, token, 0}, ++seed, stream);
}

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
        EngineCase c{"gradients "s + std::string(to_string(kind)) + " " + std::string(to_string(layout)) + " " +
                         std::string(to_string(dtype)) + " TP " + std::to_string(tp),
                     mlp_of(37, 50, 4, dtype), kStandard, 139};
        c.mlp.activation = {kind, layout, 1.25f};
        c.mlp.tp = {tp - 1, tp};
        c.row_weights = seed % 2 == 0;
        check_backward(report, c, ++seed, stream);
      }
  EngineCase wide{"gradients of larger tiles", mlp_of(192, 256, 4, DType::bf16), kBatched, 160};
  check_backward(report, wide, 17, stream);
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

/// NaN, infinities, subnormals and zeros of both signs among rows and weights.
void check_special(BitReport& report, cuda::StreamView stream) {
  EngineCase c{"experts on all kinds of floats", mlp_of(24, 40, 4, DType::f32), kStandard, 139};
  std::mt19937_64 random(79);
  Operands host(c, random);
  std::vector<float> values = host.rows.values;
  for (std::size_t i = 0; i < values.size(); i += 7) values[i] = any_float(98, i);
  host.rows = support::matrix_of(DType::f32, 24, values);
  std::vector<float> w1 = host.part.w1.values;
  for (std::size_t i = 0; i < w1.size(); i += 401) w1[i] = any_float(99, i);
  host.part.w1 = support::matrix_of(DType::f32, 24, w1);
  switchyard::ExpertCall call;
  call.rows = host.rows.view();
  call.weights = host_weights(host.part, true);
  DeviceOperands const device(host.part, stream);
  DeviceMatrix const rows(host.rows, stream);
  cuda::DeviceExpertWeights const weights(c.mlp, device.weights(true), stream);
  cuda::DeviceExpertCall on_device;
  on_device.rows = rows.view();
  on_device.weights = &weights;
  compare_rows(report, c.name, run_cpu(c, call), run_gpu(report, c, on_device, stream), names_of(c));
}

}  // namespace

void check_engine(BitReport& report, cuda::StreamView stream, bool few) {
  check_forms(report, stream, few);
  check_shapes(report, stream, few);
  check_special(report, stream);
  check_quantised(report, stream, few);
  check_gradients(report, stream, few);
  check_join(report, stream);
  check_weight_gradient(report, stream);
}

}  // namespace cross_backend
