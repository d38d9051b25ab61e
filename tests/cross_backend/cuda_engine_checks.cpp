// SPDX-License-Identifier: Apache-2.0
// The exact expert engine's forward on the GPU against the CPU's, byte for byte: activations, layouts, dtypes, TP
// sizes, formats and codes of every kind. Outputs start as poison, so rows outside the blocks are compared too.
#include <optional>
#include <random>

#include "cuda_engine_cases.hpp"
#include "cuda_experts_checks.hpp"
#include "graph_replay.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/cuda/experts.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace {

namespace cpu = switchyard::cpu;
using support::Activation;
using support::GateLayout;
using switchyard::QuantizedMatrix;
using switchyard::QuantizedView;
using switchyard::QuantScheme;
using switchyard::QuantSpec;
using Bytes = std::vector<std::byte>;

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

void check_forms(BitReport& report, cuda::StreamView stream, bool few) {
  std::uint64_t seed = 1;
  for (Activation const kind : switchyard::kAllActivations)
    for (GateLayout const layout : {GateLayout::plain, GateLayout::split, GateLayout::interleaved})
      for (DType const dtype : {DType::f32, DType::bf16, DType::f16}) {
        bool const needs_gate = kind == Activation::swigluoai || kind == Activation::swiglu_limit;
        if ((needs_gate && layout == GateLayout::plain) || (few && seed++ % 5 != 0)) continue;
        EngineCase c{std::string("experts ") + std::string(to_string(kind)) + " " + std::string(to_string(layout)) +
                         " " + std::string(to_string(dtype)),
                     mlp_of(37, 26, 4, dtype), kStandard, 139};
        if (seed % 4 == 0) c.blocks = kLong, c.rows = 398;
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
      for (RowCase const& lie : kRowCases) {
        EngineCase c{std::string("experts H ") + std::to_string(shape.hidden) + " I " +
                         std::to_string(shape.intermediate) + " TP " + std::to_string(tp) + lie.name,
                     mlp_of(shape.hidden, shape.intermediate, 4, DType::bf16), lie.blocks, lie.rows};
        c.mlp.tp = {tp - 1, tp};
        c.biased = &lie.blocks != &kBatched;
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
  RowCase const& lie = kRowCases[seed % 2 * 2];  // standard or long: flat or wide tiles
  EngineCase c{name + lie.name, mlp_of(80, 136, 4, DType::bf16), lie.blocks, lie.rows};
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
  compare_rows(report, c.name, run_cpu(c, call), run_gpu(report, c, on_device, stream), names_of(c));
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
}

}  // namespace cross_backend
