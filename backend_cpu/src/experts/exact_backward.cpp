// SPDX-License-Identifier: Apache-2.0
// The backward of the exact expert engine: the forward pass again, then the chains of ExpertGradientCall.
#include <numeric>

#include "check_call.hpp"
#include "expert_layers.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/internal/expert_operands.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

struct BackwardBuffers {
  ExpertBuffers forward;
  std::span<float> d_output;      ///< [rows, H]
  std::span<float> d_activation;  ///< [rows, local units]
  std::span<float> d_hidden;      ///< [rows, first layer outputs], in the order of w1's rows
  std::span<float> panels;        ///< row panels of whichever product is under way
};

BackwardBuffers take_backward_buffers(Workspace& workspace, ExpertKernels const& kernels, ExpertMlp const& mlp,
                                      std::int64_t max_rows) {
  std::int64_t const rows = std::min(max_rows, kRowsPerPass);
  std::int64_t const outputs = mlp.first_layer_outputs();
  BackwardBuffers buffers;
  buffers.forward = take_buffers(workspace, kernels, mlp, max_rows);
  buffers.d_output = workspace.take<float>("d output", rows * mlp.hidden);
  buffers.d_activation = workspace.take<float>("d activation", rows * mlp.local_units());
  buffers.d_hidden = workspace.take<float>("d hidden", rows * outputs);
  std::int64_t const panels =
      std::max({row_panel_floats(kernels, rows, mlp.hidden), row_panel_floats(kernels, rows, outputs),
                row_panel_floats(kernels, mlp.hidden, rows), row_panel_floats(kernels, outputs, rows)});
  buffers.panels = workspace.take<float>("gradient panels", panels);
  return buffers;
}

/// The weight gradients of one expert; null where they are not wanted.
struct ExpertWeightGradients {
  float* w1;
  float* w2;
  float* b1;
  float* b2;
};

float* part_of(TensorView const& gradient, std::int64_t expert, std::int64_t elements) {
  return gradient.data() == nullptr ? nullptr : static_cast<float*>(gradient.data()) + expert * elements;
}

/// Which rows a pass works on, in the order of the sums over rows.
using RowList = std::span<std::int64_t const>;

/// da = dy * w2.
void d_activation(ExpertPass const& pass, BackwardBuffers const& buffers) {
  std::int64_t const hidden = pass.mlp.hidden;
  std::int64_t const units = pass.mlp.local_units();
  pack_row_panels(pass.kernels, {buffers.d_output.data(), DType::f32, hidden, 1, pass.rows, hidden, nullptr},
                  buffers.panels.data());
  WeightMatrix const matrix = pass.second_weights();
  PanelProduct const product{buffers.panels.data(),      pass.rows, units, hidden, {&hidden, 1},
                             buffers.d_activation.data()};
  multiply(pass.kernels, product, [&](std::int64_t first, std::int64_t lanes, float* panel) {
    auto const* const start = static_cast<std::byte const*>(matrix.row(0)) + first * size_of(matrix.plain.dtype());
    pass.kernels.pack({start, matrix.plain.dtype(), 1, units, lanes, hidden, nullptr}, pass.kernels.tile_columns,
                      panel);
  });
}

/// Gates first, then ups, becomes the order of w1's rows.
void interleave_gates(float* row, std::int64_t units) {
  std::vector<float> const split(row, row + 2 * units);
  for (std::int64_t i = 0; i < units; ++i) {
    row[2 * i] = split[to_size(i)];
    row[2 * i + 1] = split[to_size(units + i)];
  }
}

void d_hidden(ExpertPass const& pass, BackwardBuffers const& buffers) {
  std::int64_t const units = pass.mlp.local_units();
  bool const gated = pass.mlp.activation.layout != GateLayout::plain;
  for_rows(pass.rows, units, [&](std::int64_t row) {
    float* const to = buffers.d_hidden.data() + row * pass.mlp.first_layer_outputs();
    pass.kernels.activate_backward(pass.mlp.activation.kind,
                                   {hidden_row(pass, buffers.forward, row), buffers.d_activation.data() + row * units,
                                    to, gated ? to + units : nullptr});
    if (pass.mlp.activation.layout == GateLayout::interleaved) interleave_gates(to, units);
  });
}

/// out[left][right] += left[row]^T right[row] over the pass's rows ascending.
void add_outer_products(ExpertPass const& pass, std::span<float> panels, std::span<float const> left,
                        std::int64_t left_columns, std::span<float const> right, std::int64_t right_columns,
                        float* out) {
  std::int64_t const steps = pass.rows;
  pack_row_panels(pass.kernels, {left.data(), DType::f32, 1, left_columns, left_columns, steps, nullptr},
                  panels.data());
  PanelProduct const product{panels.data(), left_columns, right_columns, steps, {&steps, 1}, out, true};
  multiply(pass.kernels, product, [&](std::int64_t first, std::int64_t lanes, float* panel) {
    pass.kernels.pack({right.data() + first, DType::f32, 1, right_columns, lanes, steps, nullptr},
                      pass.kernels.tile_columns, panel);
  });
}

/// sums[c] += column c over the pass's rows ascending.
void add_rows(ExpertPass const& pass, std::span<float const> rows, std::int64_t columns, float* sums) {
  for (std::int64_t row = 0; row < pass.rows; ++row)
    pass.kernels.add_and_round(sums, rows.data() + row * columns, DType::f32, columns);
}

void add_weight_gradients(ExpertPass const& pass, BackwardBuffers const& buffers, ExpertWeightGradients const& to) {
  std::int64_t const hidden = pass.mlp.hidden;
  std::int64_t const units = pass.mlp.local_units();
  std::int64_t const outputs = pass.mlp.first_layer_outputs();
  if (to.w2 != nullptr)
    add_outer_products(pass, buffers.panels, buffers.d_output, hidden, buffers.forward.activation, units, to.w2);
  if (to.w1 != nullptr)
    add_outer_products(pass, buffers.panels, buffers.d_hidden, outputs, buffers.forward.input, hidden, to.w1);
  if (to.b2 != nullptr) add_rows(pass, buffers.d_output, hidden, to.b2);
  if (to.b1 != nullptr) add_rows(pass, buffers.d_hidden, outputs, to.b1);
}

/// dx = dh * w1 into forward.output.
void d_input(ExpertPass const& pass, BackwardBuffers const& buffers, internal::UnitOrder const& order) {
  std::int64_t const hidden = pass.mlp.hidden;
  std::int64_t const outputs = pass.mlp.first_layer_outputs();
  pack_row_panels(pass.kernels,
                  {buffers.d_hidden.data(), DType::f32, outputs, 1, pass.rows, outputs, order.rows.data()},
                  buffers.panels.data());
  WeightMatrix const matrix = pass.first_weights();
  PanelProduct const product{buffers.panels.data(),        pass.rows, hidden, outputs, order.ends,
                             buffers.forward.output.data()};
  multiply(pass.kernels, product, [&](std::int64_t first, std::int64_t lanes, float* panel) {
    auto const* const start = static_cast<std::byte const*>(matrix.row(0)) + first * size_of(matrix.plain.dtype());
    pass.kernels.pack({start, matrix.plain.dtype(), 1, hidden, lanes, outputs, order.rows.data()},
                      pass.kernels.tile_columns, panel);
  });
}

void run_backward_pass(ExpertPass const& pass, ExpertGradientCall const& call, RowList rows,
                       BackwardBuffers const& buffers, internal::UnitOrder const& order,
                       ExpertWeightGradients const& gradients) {
  std::int64_t const hidden = pass.mlp.hidden;
  std::int64_t const row_bytes = hidden * size_of(pass.mlp.dtype);
  load_input(pass, call.forward, rows, buffers.forward.input);
  auto const* const d_output = static_cast<std::byte const*>(call.d_output.data());
  for_rows(pass.rows, hidden, [&](std::int64_t row) {
    pass.kernels.load(d_output + rows[to_size(row)] * row_bytes, pass.mlp.dtype, nullptr,
                      buffers.d_output.data() + row * hidden, hidden);
  });
  first_layer(pass, buffers.forward);
  activate_hidden(pass, buffers.forward);
  d_activation(pass, buffers);
  d_hidden(pass, buffers);
  add_weight_gradients(pass, buffers, gradients);
  d_input(pass, buffers, order);
  store_rows(pass, buffers.forward.output, {}, call.d_rows, rows);
}

void check_gradient(TensorView const& gradient, std::string_view name, std::int64_t rows, std::int64_t columns) {
  if (gradient.data() == nullptr) return;
  require_matrix(gradient, name, rows, columns);
  SWITCHYARD_REQUIRE(gradient.dtype() == DType::f32, shape_mismatch, "{} is {}: weight gradients are f32", name,
                     to_string(gradient.dtype()));
  std::fill_n(static_cast<float*>(gradient.data()), rows * columns, 0.0f);
}

/// The rows of every block in rank_major order. @throws Error{invalid_argument} unless each is a permutation
std::vector<std::int64_t> rows_in_order(ExpertGradientCall const& call, std::int64_t rows) {
  std::vector<std::int64_t> order(to_size(rows));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  if (call.rank_major_rows.empty()) return order;
  SWITCHYARD_REQUIRE(static_cast<std::int64_t>(call.rank_major_rows.size()) == rows, shape_mismatch,
                     "rank_major_rows names {} of {} rows", call.rank_major_rows.size(), rows);
  std::vector<bool> seen(to_size(rows), false);
  for (RowBlock const& block : call.forward.blocks)
    for (std::int64_t p = block.first_row; p < block.first_row + block.rows; ++p) {
      std::int64_t const row = call.rank_major_rows[to_size(p)];
      SWITCHYARD_REQUIRE(row >= block.first_row && row < block.first_row + block.rows && !seen[to_size(row)],
                         invalid_argument, "rank_major_rows[{}] is {}: not in the block [{}, +{}), or named before", p,
                         row, block.first_row, block.rows);
      seen[to_size(row)] = true;
      order[to_size(p)] = row;
    }
  return order;
}

std::int64_t check_backward(ExpertMlp const& mlp, ExpertGradientCall const& call) {
  ExpertWeights const& weights = call.forward.weights;
  SWITCHYARD_REQUIRE(weights.w1_codes.empty() && weights.w2_codes.empty() && call.forward.row_codes == nullptr &&
                         !mlp.input_quant && !mlp.activation_quant,
                     unsupported, "a backward through quantised weights or rows: train on plain ones");
  ExpertCall as_forward = call.forward;
  as_forward.output = call.d_rows;
  std::int64_t const largest = check_call(mlp, as_forward);
  std::int64_t const rows =
      call.forward.rows.data() == nullptr ? 0 : call.forward.rows.shape().num_elements() / mlp.hidden;
  require_matrix(call.d_output, "d_output", rows, mlp.hidden);
  SWITCHYARD_REQUIRE(rows == 0 || call.d_output.dtype() == mlp.dtype, shape_mismatch, "d_output is {}, the rows are {}",
                     to_string(call.d_output.dtype()), to_string(mlp.dtype));
  return largest;
}

void clear_gradients(ExpertMlp const& mlp, ExpertGradientCall const& call) {
  std::int64_t const experts = mlp.num_local_experts;
  std::int64_t const outputs = mlp.first_layer_outputs();
  check_gradient(call.d_w1, "d_w1", experts * outputs, mlp.hidden);
  check_gradient(call.d_w2, "d_w2", experts * mlp.hidden, mlp.local_units());
  check_gradient(call.d_b1, "d_b1", experts, outputs);
  check_gradient(call.d_b2, "d_b2", experts, mlp.hidden);
}

}  // namespace

std::int64_t ExactExperts::backward_workspace_bytes(std::int64_t max_rows) const {
  Workspace counting;
  static_cast<void>(take_backward_buffers(counting, active_expert_kernels(), mlp_, max_rows));
  return counting.bytes();
}

void ExactExperts::backward(ExpertGradientCall const& call, std::span<std::byte> workspace) const {
  std::int64_t const largest = check_backward(mlp_, call);
  std::vector<std::int64_t> const order = rows_in_order(
      call, call.forward.rows.data() == nullptr ? 0 : call.forward.rows.shape().num_elements() / mlp_.hidden);
  ExpertKernels const& kernels = active_expert_kernels();
  Workspace arena(workspace);
  BackwardBuffers const buffers = take_backward_buffers(arena, kernels, mlp_, largest);
  hd::FloatEnvGuard const float_env;
  clear_gradients(mlp_, call);
  internal::UnitOrder const units = internal::unit_order(mlp_);
  std::int64_t const outputs = mlp_.first_layer_outputs();
  for (int expert = 0; expert < mlp_.num_local_experts; ++expert) {
    RowBlock const& block = call.forward.blocks[to_size(expert)];
    ExpertWeightGradients const gradients{part_of(call.d_w1, expert, outputs * mlp_.hidden),
                                          part_of(call.d_w2, expert, mlp_.hidden * mlp_.local_units()),
                                          part_of(call.d_b1, expert, outputs), part_of(call.d_b2, expert, mlp_.hidden)};
    for (std::int64_t done = 0; done < block.rows; done += kRowsPerPass) {
      std::int64_t const count = std::min(kRowsPerPass, block.rows - done);
      ExpertPass const pass{kernels, mlp_, call.forward.weights, expert, count};
      RowList const rows = std::span(order).subspan(to_size(block.first_row + done), to_size(count));
      run_backward_pass(pass, call, rows, buffers, units, gradients);
    }
  }
}

void router_weight_backward(ConstTensorView const& rows, std::span<float const> weights, ConstTensorView const& d_input,
                            TensorView const& d_rows, std::span<float> d_weights) {
  auto const count = static_cast<std::int64_t>(weights.size());
  SWITCHYARD_REQUIRE(d_weights.size() == weights.size(), shape_mismatch, "{} gradients for {} router weights",
                     d_weights.size(), weights.size());
  if (count == 0) return;
  SWITCHYARD_REQUIRE(rows.shape().rank() >= 1, shape_mismatch, "rows without extents");
  std::int64_t const hidden = rows.extent(rows.shape().rank() - 1);
  require_matrix(rows, "rows", count, hidden);
  require_matrix(d_input, "d_input", count, hidden);
  require_matrix(d_rows, "d_rows", count, hidden);
  SWITCHYARD_REQUIRE(rows.dtype() == d_input.dtype() && rows.dtype() == d_rows.dtype(), shape_mismatch,
                     "rows are {}, d_input {}, d_rows {}: one dtype is needed", to_string(rows.dtype()),
                     to_string(d_input.dtype()), to_string(d_rows.dtype()));
  ExpertKernels const& kernels = active_expert_kernels();
  std::int64_t const row_bytes = hidden * size_of(rows.dtype());
  for_rows(count, hidden, [&](std::int64_t row) {
    std::vector<float> x(to_size(hidden));
    std::vector<float> d(to_size(hidden));
    auto const* const gradient = static_cast<std::byte const*>(d_input.data()) + row * row_bytes;
    kernels.load(static_cast<std::byte const*>(rows.data()) + row * row_bytes, rows.dtype(), nullptr, x.data(), hidden);
    kernels.load(gradient, rows.dtype(), nullptr, d.data(), hidden);
    d_weights[to_size(row)] = hd::lane32_sum(hidden, hd::Products{x.data(), d.data()});
    kernels.load(gradient, rows.dtype(), &weights[to_size(row)], d.data(), hidden);
    kernels.add_and_store(d.data(), nullptr, rows.dtype(), static_cast<std::byte*>(d_rows.data()) + row * row_bytes,
                          hidden);
  });
}

}  // namespace switchyard::cpu
