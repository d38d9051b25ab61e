// SPDX-License-Identifier: Apache-2.0
/// vllm-ascend's default policy: redundant copies are dealt out first, then every expert goes to the lightest rank that
/// lacks it.
///
/// Replicas go one by one to the expert with the largest share that is not on every rank yet. Copies are dealt to the
/// ranks in turn, ascending experts; then each expert's first copy, largest share first, goes to the lightest rank with
/// room that lacks it. Where none lacks it, it goes to the first rank with room and the duplicate is then exchanged for
/// the expert whose share with one replica more is nearest. Shares are float64. Ties: the list of experts is kept
/// sorted from step to step (stable ascending, then reversed), so of two equal experts the one that came later in the
/// last order is first; lowest rank. With a current placement, experts that stay keep their slots, and the plan is
/// taken only where the sum of the peaks falls below 0.95 of what it was. Peaks before are those of even shares, where
/// the original has recorded ones; and where the original finds no replacement for a duplicate and fails, ours takes
/// one that is on every other rank.
#include <cmath>

#include "../hierarchical.hpp"
#include "../policy_request.hpp"
#include "keep_slots.hpp"
#include "peer_policies.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/placement/imbalance.hpp"

namespace switchyard::placement {

namespace {

constexpr double kWorthwhile = 0.95;

struct Share {
  std::size_t expert;
  double load;
};

/// One layer of the policy.
class AscendLayer {
 public:
  AscendLayer(std::span<double const> loads, std::size_t num_ranks, std::size_t slots_per_rank)
      : extra_(loads.size(), 0), held_(num_ranks), share_(num_ranks), room_(slots_per_rank) {
    for (std::size_t expert = 0; expert < loads.size(); ++expert) order_.push_back({expert, loads[expert]});
  }

  void plan() {
    for (std::size_t made = order_.size(); made < held_.size() * room_; ++made) replicate();
    deal_copies();
    place_first_copies();
    for (std::size_t rank = 0; rank < held_.size(); ++rank) replace_duplicates(rank);
  }

  [[nodiscard]] std::vector<std::size_t> const& experts_of(std::size_t rank) const { return held_[rank]; }
  [[nodiscard]] double peak() const {
    double peak = 0;
    for (auto const& shares : share_) peak = std::max(peak, std::accumulate(shares.begin(), shares.end(), 0.0));
    return peak;
  }

 private:
  /// Stable ascending, then reversed.
  void sort_falling() {
    std::stable_sort(order_.begin(), order_.end(), [](Share a, Share b) { return a.load < b.load; });
    std::reverse(order_.begin(), order_.end());
  }

  [[nodiscard]] bool is_everywhere(std::size_t expert) const { return extra_[expert] + 1 == held_.size(); }
  [[nodiscard]] bool holds(std::size_t rank, std::size_t expert) const {
    return std::find(held_[rank].begin(), held_[rank].end(), expert) != held_[rank].end();
  }

  /// One replica more: the share of a load spread over extra + 1 slots becomes that over extra + 2.
  void add_replica(Share& share) {
    double const load = share.load * static_cast<double>(extra_[share.expert] + 1);
    share.load = load / static_cast<double>(++extra_[share.expert] + 1);
  }

  void replicate() {
    sort_falling();
    add_replica(*std::find_if(order_.begin(), order_.end(), [&](Share s) { return !is_everywhere(s.expert); }));
  }

  void put(std::size_t rank, Share const& share) {
    held_[rank].push_back(share.expert);
    share_[rank].push_back(share.load);
  }

  void deal_copies() {
    std::vector<Share> by_expert(order_.size());
    for (Share const& share : order_) by_expert[share.expert] = share;
    std::size_t next = 0;
    for (Share const& share : by_expert) {
      for (std::size_t copy = 0; copy < extra_[share.expert]; ++copy) put(next++ % held_.size(), share);
    }
  }

  void place_first_copies() {
    std::vector<double> load;
    for (auto const& shares : share_) load.push_back(std::accumulate(shares.begin(), shares.end(), 0.0));
    sort_falling();
    for (Share const& share : order_) {
      std::size_t best = held_.size();
      std::size_t with_room = held_.size();
      for (std::size_t rank = held_.size(); rank-- > 0;) {
        if (held_[rank].size() == room_) continue;
        with_room = rank;
        if (!holds(rank, share.expert) && (best == held_.size() || load[rank] <= load[best])) best = rank;
      }
      std::size_t const rank = best == held_.size() ? with_room : best;
      put(rank, share);
      load[rank] += share.load;
    }
  }

  void replace_duplicates(std::size_t rank) {
    std::vector<std::size_t> sorted = held_[rank];
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 1; i < sorted.size(); ++i) {
      if (sorted[i] == sorted[i - 1]) replace(rank, sorted[i]);
    }
  }

  void replace(std::size_t rank, std::size_t duplicate) {
    auto const found = std::find(held_[rank].begin(), held_[rank].end(), duplicate);
    auto const slot = static_cast<std::size_t>(found - held_[rank].begin());
    double const load = share_[rank][slot];
    auto const distance = [&](Share s) {
      auto const replicas = static_cast<double>(extra_[s.expert] + 1);
      return std::abs(s.load * replicas / (replicas + 1) - load);
    };
    std::stable_sort(order_.begin(), order_.end(), [&](Share a, Share b) { return distance(a) < distance(b); });
    auto const fits = [&](Share s) { return !holds(rank, s.expert); };
    auto chosen =
        std::find_if(order_.begin(), order_.end(), [&](Share s) { return fits(s) && !is_everywhere(s.expert); });
    if (chosen == order_.end()) chosen = std::find_if(order_.begin(), order_.end(), fits);
    add_replica(*chosen);
    held_[rank][slot] = chosen->expert;
    share_[rank][slot] = chosen->load;
    double const spread = load * static_cast<double>(extra_[duplicate] + 1) / static_cast<double>(extra_[duplicate]);
    --extra_[duplicate];
    for (Share& share : order_) share.load = share.expert == duplicate ? spread : share.load;
  }

  std::vector<Share> order_{};                  // [experts] in the last order
  std::vector<std::size_t> extra_;              // [experts] replicas beyond the first
  std::vector<std::vector<std::size_t>> held_;  // [ranks] experts in order of arrival
  std::vector<std::vector<double>> share_;      // [ranks] their shares when they arrived
  std::size_t room_;
};

class AscendDefaultPolicy final : public PlacementPolicy {
 public:
  explicit AscendDefaultPolicy(std::string_view name) : name_(name) {}
  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] RequestParts honours(PolicyRequest const&) const override {
    return {RequestPart::window, RequestPart::current};
  }

 private:
  [[nodiscard]] ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const override {
    require_even_slots(request, load.num_experts());
    int const per_rank = request.num_slots / request.num_ranks;
    SWITCHYARD_REQUIRE(per_rank <= load.num_experts(), invalid_argument,
                       "{} slots per rank for {} experts: policy {} puts an expert on a rank once, use fewer slots",
                       per_rank, load.num_experts(), name_);
    auto layout = SlotLayout::uniform(request.num_ranks, per_rank);
    std::vector<ExpertId> slots;
    double peaks = 0;
    for (int layer = 0; layer < load.num_layers(); ++layer) {
      AscendLayer plan(load.at(0, layer), to_size(request.num_ranks), to_size(per_rank));
      plan.plan();
      peaks += plan.peak();
      for (std::size_t rank = 0; rank < to_size(request.num_ranks); ++rank) {
        for (std::size_t const expert : plan.experts_of(rank)) slots.emplace_back(static_cast<std::int32_t>(expert));
      }
    }
    if (request.current != nullptr && request.current->layout() == layout) {
      if (!(peaks < kWorthwhile * sum_of_peaks(load, *request.current))) return *request.current;
      keep_all_slots(*request.current, slots);
    }
    return ExpertPlacement(load.num_layers(), load.num_experts(), std::move(layout), std::move(slots));
  }

  static double sum_of_peaks(ExpertLoad const& load, ExpertPlacement const& current) {
    double sum = 0;
    for (auto const& layer : measure_imbalance(load, current).layers) sum += layer.max_rank_load;
    return sum;
  }

  std::string_view name_;
};

}  // namespace

PolicyPointer make_ascend_default(std::string_view name) {
  return std::make_unique<AscendDefaultPolicy>(name);
}

}  // namespace switchyard::placement
