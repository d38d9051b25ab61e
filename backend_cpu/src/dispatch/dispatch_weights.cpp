// SPDX-License-Identifier: Apache-2.0
// Probabilities that travel with their tokens: one number per (token, slot) along the path on which single rows return,
// and the gradient of it. Rows of one number, so the stages are those of rows.
#include <algorithm>
#include <span>
#include <type_traits>
#include <vector>

#include "executor_state.hpp"
#include "switchyard/hd/convert.hpp"
#include "switchyard/hd/exact_sum_format.hpp"
#include "switchyard/hd/tree_sum.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

template <typename Weight>
constexpr DType kWeightType = std::is_same_v<Weight, double> ? DType::f64 : DType::f32;

template <typename Weight>
StageContext weight_context(Communicator& comm, DispatchPlan const& plan, std::optional<Duration> deadline) {
  DType const dtype = kWeightType<Weight>;
  return {comm, plan, active_row_kernels(), 1, internal::payload_digest(plan, dtype, dtype, 1), deadline};
}

void require_count(DispatchPlan const& plan, char const* name, std::size_t count, std::int64_t expected) {
  SWITCHYARD_REQUIRE(count == to_size(expected), shape_mismatch, "rank {} passes {} {}, its plan has {}",
                     plan.rank.value(), count, name, expected);
}

template <typename Weight>
Rows as_rows(std::span<Weight> values) {
  return {reinterpret_cast<std::byte*>(values.data()), static_cast<std::int64_t>(values.size()), sizeof(Weight)};
}
template <typename Weight>
ConstRows as_rows(std::span<Weight const> values) {
  return {reinterpret_cast<std::byte const*>(values.data()), static_cast<std::int64_t>(values.size()), sizeof(Weight)};
}

/// Adds `count` parts of `size` numbers each over the fixed tree. @return the sums, canonical
template <typename Weight>
std::vector<Weight> join_parts(std::vector<Weight> parts, std::int64_t count, std::int64_t size) {
  hd::tree_sum_in_place(parts.data(), size, count, size);
  parts.resize(to_size(size));
  for (Weight& sum : parts) {
    if constexpr (std::is_same_v<Weight, double>)
      sum = hd::narrow_double<double>(sum);
    else
      sum = hd::narrow<float>(sum);
  }
  return parts;
}

/// One stage of the way home.
template <typename Weight>
std::vector<Weight> undo_stage(StageContext const& context, DispatchStage const& stage, std::vector<Weight> const& in) {
  std::span<Weight const> const from(in);
  std::int64_t const rows = input_rows(stage);
  if (auto const* gathered = std::get_if<GroupGather>(&stage)) {
    std::int64_t const parts = parts_of(context.plan, *gathered);
    std::vector<Weight> received(to_size(checked_mul(parts, rows)));
    return_to_owners(context, *gathered, as_rows(from), as_rows(std::span(received)));
    return join_parts(std::move(received), parts, rows);
  }
  if (auto const* repeated = std::get_if<ShardRepeat>(&stage)) return join_parts(in, repeated->copies, rows);
  std::vector<Weight> out(to_size(rows));
  Rows const target = as_rows(std::span(out));
  if (auto const* moved = std::get_if<RowExchange>(&stage))
    exchange(context, inverse_of(*moved), "weight gradient exchange", as_rows(from), target);
  else if (auto const* gather = std::get_if<RowGather>(&stage))
    undo_permute(context, *gather, as_rows(from), target);
  else
    sort_chunks(context, inverse_of(std::get<ChunkSort>(stage)), as_rows(from), target);
  return out;
}

}  // namespace

template <typename Weight>
void CpuExecutor::send_weights(DispatchPlan const& plan, std::span<Weight const> weights, std::span<Weight> row_weights,
                               std::optional<Duration> deadline) {
  state_->require_plan(plan);
  require_count(plan, "row weights", row_weights.size(), plan.num_expert_rows());
  RowGather const& gather = source_gather(plan);
  auto const values = weights_of_rows(plan, gather, weights);
  auto const fill = [&](Rows out) {
    auto* const numbers = reinterpret_cast<Weight*>(out.data);
    std::fill_n(numbers, to_size(out.count), Weight{0});
    for (std::size_t i = 0; i < values.size(); ++i) numbers[gather.rows_of_token[i]] = values[i];
  };
  state_->send_rows(weight_context<Weight>(state_->comm, plan, deadline), fill, as_rows(row_weights));
}

template <typename Weight>
void CpuExecutor::return_weights(DispatchPlan const& plan, std::span<Weight const> row_gradients,
                                 std::span<Weight> weight_gradients, std::optional<Duration> deadline) {
  state_->require_plan(plan);
  require_count(plan, "row gradients", row_gradients.size(), plan.num_expert_rows());
  require_count(plan, "weight gradients", weight_gradients.size(), checked_mul(plan.num_tokens, plan.slot_columns));
  StageContext const context = weight_context<Weight>(state_->comm, plan, deadline);
  auto const& path = return_path(plan);
  std::vector<Weight> home(row_gradients.begin(), row_gradients.end());
  for (std::size_t i = path.size(); i-- > 1;) home = undo_stage(context, path[i], home);
  RowGather const& gather = source_gather(plan);
  std::fill(weight_gradients.begin(), weight_gradients.end(), Weight{0});
  for (std::int64_t const row : gather.rows_of_token) {
    auto const entry = gather.token_of_row[to_size(row)] * plan.slot_columns + gather.slot_of_row[to_size(row)];
    weight_gradients[to_size(entry)] = home[to_size(row)];
  }
}

void CpuExecutor::dispatch_weights(DispatchPlan const& plan, std::span<float const> weights,
                                   std::span<float> row_weights, std::optional<Duration> deadline) {
  send_weights(plan, weights, row_weights, deadline);
}
void CpuExecutor::dispatch_weights(DispatchPlan const& plan, std::span<double const> weights,
                                   std::span<double> row_weights, std::optional<Duration> deadline) {
  send_weights(plan, weights, row_weights, deadline);
}
void CpuExecutor::dispatch_weights_backward(DispatchPlan const& plan, std::span<float const> row_gradients,
                                            std::span<float> weight_gradients, std::optional<Duration> deadline) {
  return_weights(plan, row_gradients, weight_gradients, deadline);
}
void CpuExecutor::dispatch_weights_backward(DispatchPlan const& plan, std::span<double const> row_gradients,
                                            std::span<double> weight_gradients, std::optional<Duration> deadline) {
  return_weights(plan, row_gradients, weight_gradients, deadline);
}

}  // namespace switchyard::cpu
