// SPDX-License-Identifier: Apache-2.0
// AllGather's bias path: the experts' biases as rows of their own, combined like rows, divided by TP.
#include <vector>

#include "by_dtype.hpp"
#include "executor_state.hpp"
#include "switchyard/hd/arithmetic.hpp"
#include "switchyard/hd/convert.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

/// The bias of its expert for every row, widened.
template <typename T>
std::vector<float> bias_rows(DispatchPlan const& plan, T const* bias, std::int64_t hidden) {
  std::vector<float> rows(to_size(checked_mul(plan.num_expert_rows(), hidden)));
  std::int64_t row = 0;
  for (std::int64_t const count : plan.tokens_per_local_expert) {
    for (std::int64_t const end = row + count; row < end; ++row)
      for (std::int64_t c = 0; c < hidden; ++c) rows[to_size(row * hidden + c)] = hd::widen(bias[c]);
    bias += hidden;
  }
  return rows;
}

}  // namespace

void CpuExecutor::combine_bias(DispatchPlan const& plan, ConstTensorView bias, CombineInputs const& inputs,
                               TensorView out, std::optional<Duration> deadline) {
  state_->require_plan(plan);
  std::int64_t const hidden = require_matrix("expert biases", bias, plan.num_local_experts(), plan.rank);
  require_same_hidden(hidden, require_matrix("combined biases", out, plan.num_tokens, plan.rank), plan.rank);
  SWITCHYARD_REQUIRE(bias.dtype() == out.dtype(), shape_mismatch, "rank {} combines {} biases into {} tokens",
                     plan.rank.value(), to_string(bias.dtype()), to_string(out.dtype()));
  std::vector<float> rows;
  by_dtype(bias.dtype(),
           [&](auto zero) { rows = bias_rows(plan, static_cast<decltype(zero) const*>(bias.data()), hidden); });
  std::vector<float> sums(to_size(checked_mul(plan.num_tokens, hidden)));
  CombineInputs weights_only = inputs;
  weights_only.shared_expert.reset();
  combine(plan, CombineRecipe::megatron_allgather(),
          ConstTensorView::matrix(std::span<float const>(rows), plan.num_expert_rows(), hidden), weights_only,
          TensorView::matrix(std::span(sums), plan.num_tokens, hidden), deadline);
  auto const tp = static_cast<float>(plan.setup.grid.tp);
  by_dtype(out.dtype(), [&](auto zero) {
    auto* const target = static_cast<decltype(zero)*>(out.data());
    for (std::size_t i = 0; i < sums.size(); ++i) target[i] = hd::narrow<decltype(zero)>(hd::div_rn(sums[i], tp));
  });
}

}  // namespace switchyard::cpu
