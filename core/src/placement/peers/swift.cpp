// SPDX-License-Identifier: Apache-2.0
/// vllm-ascend's Swift balancer: keeps primaries in place and spends few transfers.
///
/// Layers whose peak is below 1.01 of the mean stay as they are; a planned layer is taken only where its peak is lower
/// than before; and the whole plan only where the sum of the peaks falls below 0.95 of what it was. As in the original,
/// the mean that scales the swap threshold (1 %) and the acceptance is that of layer 0. Ties: float32 shares; the
/// highest expert for the next replica, ascending experts elsewhere; lowest rank to receive; the highest rank is the
/// hottest. The original iterates Python sets where we go by ascending expert. It measures peaks on recorded slot
/// loads, we on even shares of the experts' loads.
#include <algorithm>
#include <numeric>

#include "../hierarchical.hpp"
#include "../policy_request.hpp"
#include "peer_policies.hpp"
#include "swift_layer.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/placement/imbalance.hpp"

namespace switchyard::placement {

namespace {

constexpr double kBalancedPar = 1.01;
constexpr double kSwapGain = 0.01;
constexpr double kWorthwhile = 0.95;

void require_current(PolicyRequest const& request, std::string_view name) {
  SWITCHYARD_REQUIRE(request.current != nullptr, invalid_argument,
                     "policy {} improves a placement and the request has none: set the current placement", name);
  auto const& current = *request.current;
  int const per_rank = request.num_slots / request.num_ranks;
  SWITCHYARD_REQUIRE(current.layout() == SlotLayout::uniform(request.num_ranks, per_rank), invalid_argument,
                     "policy {} keeps slots in place: the current placement has {} slots on {} ranks, the request {} "
                     "on {}",
                     name, current.num_slots(), current.num_ranks(), request.num_slots, request.num_ranks);
  SWITCHYARD_REQUIRE(per_rank <= current.num_experts(), invalid_argument,
                     "{} slots per rank for {} experts: policy {} puts an expert on a rank once, use fewer slots",
                     per_rank, current.num_experts(), name);
  auto const violations = validate(current);
  SWITCHYARD_REQUIRE(violations.empty(), invalid_placement, "policy {} needs a complete current placement: {}", name,
                     violations.front().text);
  auto const& slots = current.slot_to_expert();
  auto const empty = std::find(slots.begin(), slots.end(), kNoExpert);
  SWITCHYARD_REQUIRE(empty == slots.end(), invalid_placement,
                     "policy {} needs a full current placement: slot {} of layer {} is empty", name,
                     (empty - slots.begin()) % current.num_slots(), (empty - slots.begin()) / current.num_slots());
}

/// Experts that stay on the rank keep their slots, the others fill the rest in ascending order.
std::vector<ExpertId> align(std::span<ExpertId const> before, std::set<ExpertId> experts) {
  std::vector<ExpertId> after(before.size(), kNoExpert);
  for (std::size_t slot = 0; slot < before.size(); ++slot) {
    if (experts.erase(before[slot]) > 0) after[slot] = before[slot];
  }
  for (ExpertId& slot : after) {
    if (!slot.valid()) slot = experts.extract(experts.begin()).value();
  }
  return after;
}

class SwiftPolicy final : public PlacementPolicy {
 public:
  explicit SwiftPolicy(std::string_view name) : name_(name) {}
  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] RequestParts honours(PolicyRequest const&) const override {
    return {RequestPart::window, RequestPart::current};
  }

 private:
  [[nodiscard]] ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const override {
    require_even_slots(request, load.num_experts());
    require_current(request, name_);
    auto const& current = *request.current;
    auto const report = measure_imbalance(load, current);
    std::vector<ExpertId> slots;
    double before = 0;
    double after = 0;
    for (int layer = 0; layer < load.num_layers(); ++layer) {
      auto const& figures = report.layers[to_size(layer)];
      before += figures.max_rank_load;
      after += plan_layer(load.at(0, layer), current, layer, figures, report.layers.front().mean_rank_load, slots);
    }
    if (!(after < kWorthwhile * before)) return current;
    return ExpertPlacement(load.num_layers(), load.num_experts(), current.layout(), std::move(slots));
  }

  /// Appends the layer's slots. @return the planned peak, taken or not, as the original adds it up.
  static double plan_layer(std::span<double const> loads, ExpertPlacement const& current, int layer,
                           LayerImbalance const& figures, double mean, std::vector<ExpertId>& slots) {
    auto const before = current.layer(layer);
    if (figures.par < kBalancedPar) {
      slots.insert(slots.end(), before.begin(), before.end());
      return figures.max_rank_load;
    }
    SwiftLimits limits;
    limits.swap_threshold = mean * kSwapGain;
    SwiftLayer plan(loads, before, to_size(current.num_ranks()), limits);
    double const peak = plan.plan();
    bool const better = peak / mean < figures.par;
    for (RankId rank(0); rank.value() < current.num_ranks(); ++rank) {
      auto const row = current.rank_slots(layer, rank);
      auto const kept = better ? align(row, plan.experts_of(rank.index())) : std::vector(row.begin(), row.end());
      slots.insert(slots.end(), kept.begin(), kept.end());
    }
    return peak;
  }

  std::string_view name_;
};

}  // namespace

PolicyPointer make_swift(std::string_view name) {
  return std::make_unique<SwiftPolicy>(name);
}

}  // namespace switchyard::placement
