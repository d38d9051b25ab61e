// SPDX-License-Identifier: Apache-2.0
#include "join_bias.hpp"

#include <algorithm>

#include "by_dtype.hpp"
#include "switchyard/hd/arithmetic.hpp"
#include "switchyard/hd/convert.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {

JoinBias::JoinBias(StageContext const& context, CombineInputs const& inputs) {
  if (!inputs.join_bias || inputs.join_bias->shape().num_elements() == 0) return;
  hidden_ = context.hidden;
  values_.resize(to_size(inputs.join_bias->shape().num_elements()));
  by_dtype(inputs.join_bias->dtype(), [&](auto zero) {
    auto const* const from = static_cast<decltype(zero) const*>(inputs.join_bias->data());
    std::transform(from, from + values_.size(), values_.begin(), [](auto value) { return hd::widen(value); });
  });
  auto const& rows = context.plan.tokens_per_local_expert;
  for (std::size_t expert = 0; expert < rows.size(); ++expert)
    expert_of_.insert(expert_of_.end(), to_size(rows[expert]), static_cast<std::int32_t>(expert));
}

void JoinBias::follow(StageContext const& context, DispatchStage const& stage) {
  if (!given()) return;
  if (auto const* const sort = std::get_if<ChunkSort>(&stage)) {
    auto const count = static_cast<std::int64_t>(expert_of_.size());
    constexpr std::int64_t kIdBytes = sizeof(std::int32_t);
    std::vector<std::int32_t> sorted(expert_of_.size());
    sort_chunks(context, restoring_sort(context.plan.setup, *sort),
                {reinterpret_cast<std::byte const*>(expert_of_.data()), count, kIdBytes},
                {reinterpret_cast<std::byte*>(sorted.data()), count, kIdBytes});
    expert_of_ = std::move(sorted);
  }
  auto const* const gathered = std::get_if<GroupGather>(&stage);
  if (gathered == nullptr) return;
  std::int64_t first = 0;
  for (RankId const peer : internal::ranks_of_group(context.plan, gathered->group))
    if (peer < context.plan.rank) first += gathered->receive_rows[peer.index()];
  auto const begin = expert_of_.begin() + first;
  expert_of_ = std::vector<std::int32_t>(begin, begin + gathered->own_rows);
}

void JoinBias::add(float* rows, std::int64_t first, std::int64_t last) const {
  if (!given()) return;
  for (std::int64_t row = first; row < last; ++row) {
    float const* const bias = values_.data() + expert_of_[to_size(row)] * hidden_;
    for (std::int64_t c = 0; c < hidden_; ++c) rows[row * hidden_ + c] = hd::add_rn(rows[row * hidden_ + c], bias[c]);
  }
}

}  // namespace switchyard::cpu
