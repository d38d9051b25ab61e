// SPDX-License-Identifier: Apache-2.0
#include "drawn_group.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <utility>

#include "switchyard/dispatch/flex_planner.hpp"

namespace gpu_bench {

using namespace switchyard;  // NOLINT: a program, not a header

namespace {

/// A function of its arguments.
RoutingMap draw_routing(int rank, std::int64_t tokens) {
  std::mt19937_64 random(static_cast<std::uint64_t>(100 + rank));
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> experts(kExperts);
  std::iota(experts.begin(), experts.end(), 0);
  for (std::int64_t token = 0; token < tokens; ++token) {
    std::shuffle(experts.begin(), experts.end(), random);
    ids.insert(ids.end(), experts.begin(), experts.begin() + kTopK);
  }
  std::vector<float> weights(ids.size(), 0.125F);
  return RoutingMap::from_topk(tokens, kExperts, kTopK, std::move(ids), std::move(weights));
}

std::vector<RoutingMap> draw_routings(int ranks, std::int64_t tokens) {
  std::vector<RoutingMap> routings;
  for (int rank = 0; rank < ranks; ++rank) routings.push_back(draw_routing(rank, tokens));
  return routings;
}

}  // namespace

DrawnGroup::DrawnGroup(RankBench const& bench, std::int64_t tokens_per_rank)
    : routings_(draw_routings(bench.checked.size(), tokens_per_rank)),
      placement_(ExpertPlacement::contiguous(1, kExperts, bench.checked.size())),
      me_(bench.checked.rank().index()) {}

DispatchPlan DrawnGroup::flex_plan() const {
  FlexConfig config;
  config.grid = grid();
  return plan_flex_group(config, routings_, placement_, 0)[me_];
}

DispatchPlan DrawnGroup::alltoall_plan() const {
  AllToAllConfig config;
  config.grid = grid();
  return plan_alltoall_group(config, routings_, placement_, 0)[me_];
}

StepOperands::StepOperands(std::int64_t num_tokens, std::int64_t num_rows, cuda::StreamView stream)
    : num_tokens_(num_tokens),
      num_rows_(num_rows),
      tokens_(num_tokens * kRowBytes),
      rows_(num_rows * kRowBytes),
      out_(num_tokens * kRowBytes),
      weights_(cuda::upload(std::vector<float>(static_cast<std::size_t>(num_tokens * kTopK), 0.125F), stream)) {
  cuda::fill_bytes(tokens_, 0x3c, stream);
}

}  // namespace gpu_bench
