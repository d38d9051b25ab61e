// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/cpu_executor.hpp"

#include <memory>

#include "executor_state.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {
namespace {

void require_shared_rows(DispatchPlan const& plan, CombineInputs const& inputs, std::int64_t hidden, DType dtype) {
  if (!inputs.shared_expert.has_value()) return;
  auto const& shared = *inputs.shared_expert;
  require_same_hidden(hidden, require_matrix("shared expert rows", shared, plan.num_tokens, plan.rank), plan.rank);
  SWITCHYARD_REQUIRE(shared.dtype() == dtype, shape_mismatch, "rank {} adds {} shared expert rows to {} tokens",
                     plan.rank.value(), to_string(shared.dtype()), to_string(dtype));
}

}  // namespace

std::int64_t require_matrix(char const* name, ConstTensorView const& view, std::int64_t rows, RankId rank) {
  SWITCHYARD_REQUIRE(view.shape().rank() == 2 && view.extent(0) == rows, shape_mismatch,
                     "{} of rank {} must be a matrix of {} rows, got {} dimensions and {} rows", name, rank.value(),
                     rows, view.shape().rank(), view.shape().rank() > 0 ? view.extent(0) : 0);
  SWITCHYARD_REQUIRE(view.space() != MemorySpace::device && view.shape().contiguous(), shape_mismatch,
                     "{} of rank {} must be contiguous host memory", name, rank.value());
  return view.extent(1);
}

void require_same_hidden(std::int64_t first, std::int64_t second, RankId rank) {
  SWITCHYARD_REQUIRE(first == second, shape_mismatch, "rank {} passes hidden sizes {} and {} in one call", rank.value(),
                     first, second);
}

ConstRows rows_of(ConstTensorView const& view) {
  return {static_cast<std::byte const*>(view.data()), view.extent(0), view.extent(1) * size_of(view.dtype())};
}

Rows rows_of(TensorView const& view) {
  return {static_cast<std::byte*>(view.data()), view.extent(0), view.extent(1) * size_of(view.dtype())};
}

CpuExecutor::CpuExecutor(Communicator& comm, ExecutionPath path) : state_(std::make_unique<State>(comm, path)) {}
CpuExecutor::~CpuExecutor() = default;
CpuExecutor::CpuExecutor(CpuExecutor&&) noexcept = default;
CpuExecutor& CpuExecutor::operator=(CpuExecutor&&) noexcept = default;

void CpuExecutor::dispatch(DispatchPlan const& plan, ConstTensorView tokens, TensorView rows,
                           std::optional<Duration> deadline) {
  state_->require_plan(plan);
  std::int64_t const hidden = require_matrix("tokens", tokens, plan.num_tokens, plan.rank);
  require_same_hidden(hidden, require_matrix("expert rows", rows, plan.num_expert_rows(), plan.rank), plan.rank);
  SWITCHYARD_REQUIRE(tokens.dtype() == rows.dtype(), shape_mismatch, "rank {} dispatches {} tokens into {} rows",
                     plan.rank.value(), to_string(tokens.dtype()), to_string(rows.dtype()));
  auto const& kernels = active_row_kernels();
  static_cast<void>(kernels_of(kernels, tokens.dtype()));
  StageContext const context{
      state_->comm, plan, kernels, hidden, internal::payload_digest(plan, tokens.dtype(), rows.dtype(), hidden),
      deadline};
  if (PeerMemory* const memory = state_->shared_memory())
    return state_->dispatch_composed(context, *memory, rows_of(tokens), rows_of(rows));
  state_->run_stages(context, rows_of(tokens), rows_of(rows));
}

void CpuExecutor::combine(DispatchPlan const& plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
                          std::span<float const> weights, TensorView out, std::optional<Duration> deadline) {
  CombineInputs inputs;
  inputs.weights = weights;
  combine(plan, recipe, expert_rows, inputs, out, deadline);
}

std::int64_t CpuExecutor::State::require_combine(DispatchPlan const& plan, CombineRecipe const& recipe,
                                                 ConstTensorView const& expert_rows, CombineInputs const& inputs,
                                                 TensorView const& out) const {
  require_supported(plan, recipe, inputs.route);
  require_plan(plan);
  std::int64_t const hidden = require_matrix("expert rows", expert_rows, plan.num_expert_rows(), plan.rank);
  require_same_hidden(hidden, require_matrix("combined tokens", out, plan.num_tokens, plan.rank), plan.rank);
  require_shared_rows(plan, inputs, hidden, out.dtype());
  internal::require_join_bias(plan, recipe, inputs.join_bias, hidden, MemorySpace::host);
  SWITCHYARD_REQUIRE(expert_rows.dtype() == out.dtype() || expert_rows.dtype() == DType::f32, shape_mismatch,
                     "rank {} combines {} expert rows into {} tokens: pass rows of the same dtype, or f32",
                     plan.rank.value(), to_string(expert_rows.dtype()), to_string(out.dtype()));
  static_cast<void>(kernels_of(active_row_kernels(), out.dtype()));
  return hidden;
}

void CpuExecutor::combine(DispatchPlan const& plan, CombineRecipe const& recipe, ConstTensorView expert_rows,
                          CombineInputs const& inputs, TensorView out, std::optional<Duration> deadline) {
  if (inputs.weights_applied) {
    std::vector<float> const ones = unit_weights(plan);
    return combine(plan, recipe, expert_rows, with_weights(inputs, ones), out, deadline);
  }
  std::int64_t const hidden = state_->require_combine(plan, recipe, expert_rows, inputs, out);
  auto const& kernels = active_row_kernels();
  auto const digest = internal::payload_digest(plan, expert_rows.dtype(), out.dtype(), hidden);
  StageContext const context{state_->comm, plan, kernels, hidden, with_recipe(digest, plan, recipe, inputs), deadline};
  ConstRows const rows = rows_of(expert_rows);
  std::byte* const sums = rows_of(out).data;
  if (sends_partials(plan, recipe, inputs.route)) {
    sum_over_ranks(context, recipe, rows, expert_rows.dtype(), out.dtype(), inputs, sums, state_->rank_sums);
  } else {
    SourceSum const sum(context, recipe, out.dtype(), inputs, sums);
    bool const staged = inputs.join_bias.has_value() || !has_one_join(return_path(plan));
    if (PeerMemory* const memory = staged ? nullptr : state_->shared_memory()) {
      state_->combine_composed(context, *memory, sum, rows, expert_rows.dtype(), out.dtype());
    } else {
      sum_home_rows(sum, state_->bring_home(context, expert_rows, out.dtype(), JoinBias(context, inputs)));
    }
  }
  add_shared_rows(context, recipe, inputs, out);
}

}  // namespace switchyard::cpu
