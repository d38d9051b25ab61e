// SPDX-License-Identifier: Apache-2.0
/// SGLang's elasticity_aware: DeepSeek's policy over the ranks that live.
///
/// While all live it is DeepSeek's, hierarchical iff nodes divide groups. Once a rank is dead the global policy plans
/// for the live ranks alone, and their blocks are put back at their places. The original fills a dead rank's slots with
/// expert 0; ours stay empty, so that nothing can be routed there.
#include "../hierarchical.hpp"
#include "../policy_request.hpp"
#include "peer_policies.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::placement {

namespace {

/// Puts the slots planned for the live ranks at their places among all ranks.
ExpertPlacement spread_over_live(ExpertPlacement const& planned, PolicyRequest const& request) {
  auto const live = live_ranks(request);
  int const per_rank = request.num_slots / request.num_ranks;
  std::vector<ExpertId> slots;
  for (int layer = 0; layer < planned.num_layers(); ++layer) {
    RankId next(0);
    for (bool const is_live : live) {
      if (is_live) {
        auto const block = planned.rank_slots(layer, next);
        slots.insert(slots.end(), block.begin(), block.end());
        ++next;
      } else {
        slots.insert(slots.end(), to_size(per_rank), kNoExpert);
      }
    }
  }
  return ExpertPlacement(planned.num_layers(), planned.num_experts(), SlotLayout::uniform(request.num_ranks, per_rank),
                         std::move(slots));
}

class SglangElasticPolicy final : public PlacementPolicy {
 public:
  explicit SglangElasticPolicy(std::string_view name) : name_(name) {}
  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] RequestParts honours(PolicyRequest const& request) const override {
    RequestParts parts{RequestPart::window, RequestPart::dead_ranks};
    if (is_hierarchical(request)) {
      parts.add(RequestPart::max_nodes_per_group);
      parts.add(RequestPart::max_nodes_per_expert);
    }
    return parts;
  }

 private:
  static bool is_hierarchical(PolicyRequest const& request) {
    return request.dead_ranks.empty() && request.num_groups % request.num_nodes == 0;
  }

  [[nodiscard]] ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const override {
    if (request.dead_ranks.empty()) {
      return deepseek_rebalance(load, request, is_hierarchical(request)).placement;
    }
    require_even_slots(request, load.num_experts());
    PolicyRequest alive;
    alive.num_ranks = request.num_ranks - static_cast<int>(request.dead_ranks.size());
    alive.num_slots = request.num_slots / request.num_ranks * alive.num_ranks;
    return spread_over_live(deepseek_rebalance(load, alive, false).placement, request);
  }

  std::string_view name_;
};

}  // namespace

PolicyPointer make_sglang_elastic(std::string_view name) {
  return std::make_unique<SglangElasticPolicy>(name);
}

}  // namespace switchyard::placement
