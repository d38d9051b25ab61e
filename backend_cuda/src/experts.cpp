// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/experts.hpp"

#include <algorithm>

#include "expert_steps.hpp"
#include "nvtx_range.hpp"
#include "switchyard/internal/expert_operands.hpp"
#include "switchyard/internal/require.hpp"
#include "system_probe.hpp"

namespace switchyard::cuda {

struct ExactExperts::State {
  ExpertMlp mlp;
  internal::UnitOrder order;
  DeviceBuffer order_rows;  ///< order.rows on the device
  DeviceBuffer places;      ///< its inverse
};

namespace {

/// Where every row of w1 stands in the order.
std::vector<std::int64_t> inverse_of(std::vector<std::int64_t> const& order) {
  std::vector<std::int64_t> places(order.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    places[static_cast<std::size_t>(order[i])] = static_cast<std::int64_t>(i);
  return places;
}

void check_call(ExpertMlp const& mlp, DeviceExpertCall const& call, TensorView const& output) {
  SWITCHYARD_REQUIRE(call.total_rows >= 0, invalid_argument, "an expert call with {} rows", call.total_rows);
  SWITCHYARD_REQUIRE(call.weights != nullptr && (call.blocks != nullptr || mlp.num_local_experts == 0),
                     invalid_argument, "an expert call without {}", call.weights == nullptr ? "weights" : "blocks");
  if (call.row_codes != nullptr) {
    SWITCHYARD_REQUIRE(call.row_codes->rows == call.total_rows && call.row_codes->columns == mlp.hidden, shape_mismatch,
                       "row_codes are {} x {}, wanted {} x {}", call.row_codes->rows, call.row_codes->columns,
                       call.total_rows, mlp.hidden);
    call.row_codes->validate();
    SWITCHYARD_REQUIRE(call.row_weights == nullptr, unsupported,
                       "router weights on rows that are quantised already: multiply before quantising");
  } else {
    require_device_matrix(call.rows, "rows", call.total_rows, mlp.hidden);
    require_dtype(call.rows, "rows", mlp.dtype);
  }
  require_device_matrix(output, "output", call.total_rows, mlp.hidden);
  require_dtype(output, "output", mlp.tp.size == 1 ? mlp.dtype : DType::f32);
}

/// Int32 sums of 2^17 products of int8 codes could overflow.
void check_int8(ExpertMlp const& mlp, DeviceExpertCall const& call) {
  auto const& weights = call.weights->tables();
  std::int64_t const longest = std::max(weights.w1_int8 ? mlp.hidden : 0, weights.w2_int8 ? mlp.local_units() : 0);
  SWITCHYARD_REQUIRE(longest < 1 << 17, unsupported,
                     "an int8 product over {} columns: from 131072 on an int32 sum may overflow; dequantise one side",
                     longest);
}

void check_gradient(TensorView const& gradient, std::string_view name, std::int64_t rows, std::int64_t columns) {
  if (gradient.data() == nullptr) return;
  require_device_matrix(gradient, name, rows, columns);
  require_dtype(gradient, name, DType::f32);
}

void check_backward(ExpertMlp const& mlp, DeviceExpertGradientCall const& call) {
  check_call(mlp, call.forward, call.d_rows);
  SWITCHYARD_REQUIRE(call.forward.row_codes == nullptr && !mlp.input_quant && !mlp.activation_quant &&
                         !call.forward.weights->tables().coded(),
                     unsupported, "a backward through quantised weights or rows: train on plain ones");
  require_device_matrix(call.d_output, "d_output", call.forward.total_rows, mlp.hidden);
  require_dtype(call.d_output, "d_output", mlp.dtype);
  std::int64_t const experts = mlp.num_local_experts;
  std::int64_t const outputs = mlp.first_layer_outputs();
  check_gradient(call.d_w1, "d_w1", experts * outputs, mlp.hidden);
  check_gradient(call.d_w2, "d_w2", experts * mlp.hidden, mlp.local_units());
  check_gradient(call.d_b1, "d_b1", experts, outputs);
  check_gradient(call.d_b2, "d_b2", experts, mlp.hidden);
}

/// The launches of a backward after the first layer and its activation.
struct GradientRun {
  ExpertRun const& run;
  DeviceExpertGradientCall const& call;
  internal::UnitOrder const& order;
  std::int64_t const* order_rows;
  std::int64_t const* places;

  [[nodiscard]] ChainOperand d_output() const {
    ChainOperand operand;
    operand.data = call.d_output.data();
    operand.dtype = run.mlp.dtype;
    operand.stride = run.mlp.hidden;
    operand.map = run.map;
    return operand;
  }
  /// Floats of the workspace, one line per position.
  [[nodiscard]] static ChainOperand positions(std::span<float const> values, std::int64_t columns) {
    ChainOperand operand;
    operand.data = values.data();
    operand.stride = columns;
    return operand;
  }

  /// da = dy * w2.
  void d_activation() const {
    std::int64_t const units = run.mlp.local_units();
    ChainProduct product = run.product(units, run.mlp.hidden);
    product.left = d_output();
    product.right.data = run.weights.views.w2.data();
    product.right.dtype = run.weights.views.w2.dtype();
    product.right.stride = units;
    product.right.expert_stride = run.mlp.hidden * units;
    product.out.data = run.space.d_activation.data();
    product.out.stride = units;
    if (units > 0) launch_chain_product(ChainLines::right_across, product, run.stream);
  }

  void d_hidden() const {
    ActivationJob job = run.activation_job();
    job.d_output = run.space.d_activation.data();
    job.d_hidden = run.space.d_hidden.data();
    job.place = places;
    launch_activation_gradient(job, run.stream);
  }

  /// out[left][right] = sum over an expert's rows of left[row]^T right[row].
  void outer(ChainOperand const& left, std::int64_t rows, ChainOperand const& right, std::int64_t columns,
             std::int64_t const* out_rows, TensorView const& out) const {
    if (out.data() == nullptr || rows == 0 || columns == 0) return;
    ChainProduct product = run.product(columns, 0);
    product.over_rows = true;
    product.rows = rows;
    product.left = left;
    product.right = right;
    product.out.data = out.data();
    product.out.stride = columns;
    product.out.expert_stride = rows * columns;
    product.out.map = out_rows;
    launch_chain_product(ChainLines::both_across, product, run.stream);
  }

  void weight_gradients() const {
    std::int64_t const units = run.mlp.local_units();
    std::int64_t const outputs = run.mlp.first_layer_outputs();
    outer(d_output(), run.mlp.hidden, positions(run.space.activation, units), units, nullptr, call.d_w2);
    outer(positions(run.space.d_hidden, outputs), outputs, run.input_rows(), run.mlp.hidden, order_rows, call.d_w1);
    ColumnSumJob sums;
    sums.blocks = run.call.blocks;
    sums.experts = run.mlp.num_local_experts;
    sums.columns = run.mlp.hidden;
    sums.rows = call.d_output.data();
    sums.dtype = run.mlp.dtype;
    sums.map = run.map;
    sums.sums = static_cast<float*>(call.d_b2.data());
    if (sums.sums != nullptr) launch_column_sums(sums, run.stream);
    sums.columns = outputs;
    sums.rows = run.space.d_hidden.data();
    sums.dtype = DType::f32;
    sums.map = nullptr;
    sums.order = order_rows;
    sums.sums = static_cast<float*>(call.d_b1.data());
    if (sums.sums != nullptr) launch_column_sums(sums, run.stream);
  }

  /// dx = dh * w1, blocks of I joined as in the forward pass.
  void d_input() const {
    std::int64_t const outputs = run.mlp.first_layer_outputs();
    ChainProduct product = run.product(run.mlp.hidden, outputs);
    product.left = positions(run.space.d_hidden, outputs);
    product.right.data = run.weights.views.w1.data();
    product.right.dtype = run.weights.views.w1.dtype();
    product.right.stride = run.mlp.hidden;
    product.right.expert_stride = std::max<std::int64_t>(outputs * run.mlp.hidden, 1);
    product.right.map = order_rows;
    product.segments = static_cast<int>(order.ends.size());
    std::copy(order.ends.begin(), order.ends.end(), product.segment_ends);
    product.out.data = call.d_rows.data();
    product.out.dtype = call.d_rows.dtype();
    product.out.stride = run.mlp.hidden;
    product.out.map = run.map;
    launch_chain_product(ChainLines::right_across, product, run.stream);
  }
};

}  // namespace

ExactExperts::ExactExperts(ExpertMlp const& mlp) : state_(std::make_unique<State>()) {
  mlp.validate();
  require_device_code("an exact expert engine");
  state_->mlp = mlp;
  state_->order = internal::unit_order(mlp);
  Stream const stream;
  state_->order_rows = upload(state_->order.rows, stream);
  state_->places = upload(inverse_of(state_->order.rows), stream);
}
ExactExperts::~ExactExperts() = default;
ExactExperts::ExactExperts(ExactExperts&&) noexcept = default;
ExactExperts& ExactExperts::operator=(ExactExperts&&) noexcept = default;

ExpertMlp const& ExactExperts::mlp() const noexcept {
  return state_->mlp;
}

std::int64_t ExactExperts::workspace_bytes(std::int64_t total_rows) const {
  Workspace counting;
  static_cast<void>(ExpertSpace::take(counting, state_->mlp, total_rows, false));
  return counting.bytes();
}

std::int64_t ExactExperts::backward_workspace_bytes(std::int64_t total_rows) const {
  Workspace counting;
  static_cast<void>(ExpertSpace::take(counting, state_->mlp, total_rows, true));
  return counting.bytes();
}

void ExactExperts::apply(DeviceExpertCall const& call, std::span<std::byte> workspace, StreamView stream) const {
  NvtxRange const range("exact experts");
  check_call(state_->mlp, call, call.output);
  check_int8(state_->mlp, call);
  Workspace arena(workspace);
  ExpertSpace const space = ExpertSpace::take(arena, state_->mlp, call.total_rows, false);
  if (call.total_rows == 0) return;
  ExpertRun const run{state_->mlp, call, call.weights->tables(), space, stream};
  run.first_layer();
  run.activate();
  run.second_layer();
}

void ExactExperts::backward(DeviceExpertGradientCall const& call, std::span<std::byte> workspace,
                            StreamView stream) const {
  NvtxRange const range("exact experts backward");
  check_backward(state_->mlp, call);
  Workspace arena(workspace);
  ExpertSpace const space = ExpertSpace::take(arena, state_->mlp, call.forward.total_rows, true);
  ExpertRun const run{state_->mlp, call.forward, call.forward.weights->tables(), space, stream, call.rank_major_rows};
  run.first_layer();
  run.activate();
  GradientRun const gradient{run, call, state_->order, state_->order_rows.as<std::int64_t const>(),
                             state_->places.as<std::int64_t const>()};
  gradient.d_activation();
  gradient.d_hidden();
  gradient.weight_gradients();
  gradient.d_input();
}

void finish_partials(ExpertMlp const& mlp, std::span<ConstTensorView const> partials,
                     switchyard::RowBlock const* blocks, ConstTensorView const& b2, TensorView const& output,
                     StreamView stream) {
  SWITCHYARD_REQUIRE(static_cast<int>(partials.size()) == mlp.tp.size, shape_mismatch,
                     "{} partials to join for TP size {}", partials.size(), mlp.tp.size);
  std::int64_t const rows = output.data() == nullptr ? 0 : output.shape().num_elements() / mlp.hidden;
  require_device_matrix(output, "output", rows, mlp.hidden);
  if (b2.data() != nullptr) require_device_matrix(b2, "b2", mlp.num_local_experts, mlp.hidden);
  JoinJob job{blocks, mlp.num_local_experts, rows, mlp.hidden, mlp.tp.size};
  for (std::size_t rank = 0; rank < partials.size(); ++rank) {
    require_device_matrix(partials[rank], "partial", rows, mlp.hidden);
    require_dtype(partials[rank], "partial", DType::f32);
    job.partial[rank] = static_cast<float const*>(partials[rank].data());
  }
  job.bias = b2.data();
  job.bias_dtype = b2.dtype();
  job.out = output.data();
  job.dtype = output.dtype();
  if (rows > 0) launch_join(job, stream);
}

void router_weight_backward(ConstTensorView const& rows, ConstTensorView const& weights, ConstTensorView const& d_input,
                            TensorView const& d_rows, TensorView const& d_weights, StreamView stream) {
  std::int64_t const count = weights.shape().num_elements();
  if (weights.data() == nullptr || count == 0) return;
  SWITCHYARD_REQUIRE(rows.shape().rank() >= 1, shape_mismatch, "rows without extents");
  std::int64_t const hidden = rows.extent(rows.shape().rank() - 1);
  require_device_matrix(rows, "rows", count, hidden);
  require_device_matrix(d_input, "d_input", count, hidden);
  require_device_matrix(d_rows, "d_rows", count, hidden);
  require_dtype(d_input, "d_input", rows.dtype());
  require_dtype(d_rows, "d_rows", rows.dtype());
  require_dtype(weights, "weights", DType::f32);
  require_dtype(d_weights, "d_weights", DType::f32);
  SWITCHYARD_REQUIRE(d_weights.data() != nullptr && d_weights.shape().num_elements() == count, shape_mismatch,
                     "{} gradients for {} router weights", d_weights.shape().num_elements(), count);
  launch_weight_gradient({rows.data(), d_input.data(), static_cast<float const*>(weights.data()), d_rows.data(),
                          static_cast<float*>(d_weights.data()), count, hidden, rows.dtype()},
                         stream);
}

}  // namespace switchyard::cuda
