// SPDX-License-Identifier: Apache-2.0
/// fractional_split: min over splits of the largest rank load, as a ratio of integers.
///
/// For a limit p/q the split exists when a network source -> experts (load * q) -> holding ranks -> sink (speed * p)
/// carries all load. If it does not, the experts on the source's side of a smallest cut are too much for the ranks that
/// hold them, and their ratio is a larger limit that every split needs. Starting at the mean this reaches the optimum
/// after finitely many cuts.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "layer_view.hpp"
#include "max_flow.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/bounds.hpp"

namespace switchyard {

namespace {

constexpr int kProductBits = 61;
constexpr int kSpeedBits = 20;

/// Non-negative numbers as integers times 2^-exponent.
struct Integers {
  std::vector<std::int64_t> values;
  int exponent = 0;
};

std::int64_t sum_of(std::vector<std::int64_t> const& values) {
  return std::accumulate(values.begin(), values.end(), std::int64_t{0});
}

/// Exact when the values are integers whose sum has at most `bits` bits; else rounded (down or up) to that many.
Integers to_integers(std::span<double const> values, int bits, bool round_up) {
  Integers result;
  double const sum = std::accumulate(values.begin(), values.end(), 0.0);
  bool const are_integers = std::all_of(values.begin(), values.end(), [](double v) { return v == std::floor(v); });
  if (!are_integers || sum >= std::ldexp(1.0, bits)) {
    result.exponent = bits - 1 - std::ilogb(std::max(sum, 0x1p-900));
  }
  for (double const value : values) {
    double const scaled = std::ldexp(value, result.exponent);
    result.values.push_back(static_cast<std::int64_t>(round_up ? std::ceil(scaled) : std::floor(scaled)));
  }
  return result;
}

/// The network of one layer. Nodes: source, sink, experts, ranks.
class SplitNetwork {
 public:
  SplitNetwork(Integers loads, Integers speeds, std::vector<std::vector<std::size_t>> const& holders)
      : loads_(std::move(loads)), speeds_(std::move(speeds)), flow_(2 + holders.size() + speeds_.values.size()) {
    for (std::size_t expert = 0; expert < holders.size(); ++expert) {
      flow_.add_edge(kSource, expert_node(expert), 0);
    }
    for (std::size_t rank = 0; rank < speeds_.values.size(); ++rank) {
      flow_.add_edge(rank_node(rank), kSink, 0);
    }
    for (std::size_t expert = 0; expert < holders.size(); ++expert) {
      for (std::size_t const rank : holders[expert]) {
        split_edges_.push_back(
            {expert, rank, flow_.add_edge(expert_node(expert), rank_node(rank), MaxFlow::kUnlimited)});
      }
    }
  }

  /// Leaves the flow at the optimum in place.
  void solve() {
    load_ = sum_of(loads_.values);
    speed_ = sum_of(speeds_.values);
    while (load_ > 0 && carries_less_than_all()) {
      raise_limit();
    }
  }

  [[nodiscard]] double max_load() const {
    return std::ldexp(static_cast<double>(load_) / static_cast<double>(speed_), speeds_.exponent - loads_.exponent);
  }

  /// Calls `receive(expert, rank, load)` for every pair.
  template <typename Receive>
  void for_each_share(Receive&& receive) const {
    for (auto const& edge : split_edges_) {
      double const share = load_ > 0 ? static_cast<double>(flow_.flow(edge.edge)) / static_cast<double>(speed_) : 0.0;
      receive(edge.expert, edge.rank, std::ldexp(share, -loads_.exponent));
    }
  }

 private:
  using MaxFlow = placement::MaxFlow;
  struct SplitEdge {
    std::size_t expert;
    std::size_t rank;
    std::size_t edge;
  };
  static constexpr std::size_t kSource = 0;
  static constexpr std::size_t kSink = 1;

  [[nodiscard]] std::size_t expert_node(std::size_t expert) const { return 2 + expert; }
  [[nodiscard]] std::size_t rank_node(std::size_t rank) const { return 2 + loads_.values.size() + rank; }

  bool carries_less_than_all() {
    for (std::size_t expert = 0; expert < loads_.values.size(); ++expert) {
      flow_.set_capacity(expert, loads_.values[expert] * speed_);
    }
    for (std::size_t rank = 0; rank < speeds_.values.size(); ++rank) {
      flow_.set_capacity(loads_.values.size() + rank, speeds_.values[rank] * load_);
    }
    return flow_.run(kSource, kSink) < sum_of(loads_.values) * speed_;
  }

  void raise_limit() {
    std::int64_t load = 0;
    std::int64_t speed = 0;
    for (std::size_t expert = 0; expert < loads_.values.size(); ++expert) {
      load += flow_.on_source_side(expert_node(expert)) ? loads_.values[expert] : 0;
    }
    for (std::size_t rank = 0; rank < speeds_.values.size(); ++rank) {
      speed += flow_.on_source_side(rank_node(rank)) ? speeds_.values[rank] : 0;
    }
    load_ = load;
    speed_ = speed;
  }

  Integers loads_;
  Integers speeds_;
  placement::MaxFlow flow_;
  std::vector<SplitEdge> split_edges_{};
  std::int64_t load_ = 0;  // the limit is load_ / speed_
  std::int64_t speed_ = 1;
};

void require_loads(std::span<double const> load, ExpertPlacement const& placement,
                   std::vector<std::vector<std::size_t>> const& holders, int layer) {
  SWITCHYARD_REQUIRE(load.size() == to_size(placement.num_experts()), shape_mismatch,
                     "{} loads for {} experts: they must be equal", load.size(), placement.num_experts());
  for (std::size_t expert = 0; expert < load.size(); ++expert) {
    SWITCHYARD_REQUIRE(std::isfinite(load[expert]) && load[expert] >= 0, invalid_argument,
                       "load {} of expert {} in layer {}: a load is finite and not negative", load[expert], expert,
                       layer);
    SWITCHYARD_REQUIRE(load[expert] == 0 || !holders[expert].empty(), invalid_placement,
                       "expert {} of layer {} has load {} but no slot on a rank that serves: its tokens would be lost",
                       expert, layer, load[expert]);
  }
}

SlotId first_slot_of(ExpertPlacement const& placement, int layer, std::size_t expert, std::size_t rank) {
  RankId const owner(static_cast<std::int32_t>(rank));
  auto const slots = placement.rank_slots(layer, owner);
  auto const found = std::find(slots.begin(), slots.end(), ExpertId(static_cast<std::int32_t>(expert)));
  return SlotId(placement.layout().first_slot(owner).value() + static_cast<std::int32_t>(found - slots.begin()));
}

}  // namespace

FractionalSplit fractional_split(std::span<double const> load, ExpertPlacement const& placement, int layer,
                                 std::span<double const> speeds) {
  auto const checked = placement::checked_speeds(speeds, placement.num_ranks());
  auto const holders = placement::holders(placement, layer, checked);
  require_loads(load, placement, holders, layer);
  Integers integer_speeds = to_integers(checked, kSpeedBits, true);
  auto const speed_bits = static_cast<int>(std::bit_width(static_cast<std::uint64_t>(sum_of(integer_speeds.values))));
  SplitNetwork network(to_integers(load, kProductBits - speed_bits, false), std::move(integer_speeds), holders);
  network.solve();
  FractionalSplit split{network.max_load(), std::vector<double>(to_size(placement.num_slots()), 0.0)};
  network.for_each_share([&](std::size_t expert, std::size_t rank, double share) {
    split.slot_load[first_slot_of(placement, layer, expert, rank).index()] = share;
  });
  return split;
}

}  // namespace switchyard
