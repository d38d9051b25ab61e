// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"
#include "tiers.hpp"

namespace switchyard {
namespace {

/// Transfers per rank and tier (network, intra), sent and received.
struct PortCounts {
  explicit PortCounts(int num_ranks) : sends(to_size(num_ranks)), receives(to_size(num_ranks)) {}

  void add(RowTransfer const& transfer, bool intra) {
    ++sends[transfer.from.index()][intra];
    ++receives[transfer.to.index()][intra];
  }
  [[nodiscard]] std::int64_t largest(bool intra) const {
    std::int64_t most = 0;
    for (auto const& list : {&sends, &receives})
      for (auto const& counts : *list) most = std::max(most, counts[intra]);
    return most;
  }

  std::vector<std::array<std::int64_t, 2>> sends;
  std::vector<std::array<std::int64_t, 2>> receives;
};

std::int64_t ceil_div(std::int64_t amount, std::int64_t divisor) {
  return amount / divisor + (amount % divisor == 0 ? 0 : 1);
}

class Sums {
 public:
  Sums(RebalanceSchedule const& schedule, LinkRates const& rates)
      : schedule_(schedule), tiers_(schedule.before.num_ranks(), schedule.limits), group_(schedule.before.num_ranks()) {
    auto const bytes = checked_mul(schedule.expert_bytes, 1000);
    ns_per_expert_ = {ceil_div(bytes, rates.network_bytes_per_us), ceil_div(bytes, rates.intra_bytes_per_us)};
  }

  ScheduleTotals run() {
    for (LayerSchedule const& layer : schedule_.layers) add(layer);
    for (std::size_t rank = 0; rank < group_.sends.size(); ++rank) {
      auto const sum = [&](auto const& list) { return list[rank][0] + list[rank][1]; };
      sums_.max_sends_of_rank = std::max(sums_.max_sends_of_rank, sum(group_.sends));
      sums_.max_receives_of_rank = std::max(sums_.max_receives_of_rank, sum(group_.receives));
    }
    sums_.peak_extra_bytes = checked_mul(sums_.spare_rows_used, schedule_.expert_bytes);
    return sums_;
  }

 private:
  void add(LayerSchedule const& layer) {
    PortCounts ports(schedule_.before.num_ranks());
    for (TransferRound const& round : layer.rounds) {
      add_round(round, ports);
      sums_.copies += static_cast<std::int64_t>(round.copies.size());
    }
    sums_.copies += static_cast<std::int64_t>(layer.commit.size());
    sums_.rounds += static_cast<std::int64_t>(layer.rounds.size());
    sums_.bound_rounds += layer.bound.rounds;
    sums_.max_degree += std::max(ports.largest(false), ceil_div(ports.largest(true), tiers_.capacity(true)));
    sums_.spare_rows_used = std::max(sums_.spare_rows_used, layer.spare_rows_used);
    sums_.bound_ns = checked_add(sums_.bound_ns, bound_ns(layer.bound));
  }

  void add_round(TransferRound const& round, PortCounts& layer_ports) {
    PortCounts ports(schedule_.before.num_ranks());
    for (RowTransfer const& transfer : round.transfers) {
      bool const intra = tiers_.same_node(transfer.from, transfer.to);
      for (PortCounts* counts : {&ports, &layer_ports, &group_}) counts->add(transfer, intra);
      ++(intra ? sums_.intra_transfers : sums_.network_transfers);
    }
    auto const network_ns = checked_mul(ports.largest(false), ns_per_expert_[0]);
    auto const intra_ns = checked_mul(ports.largest(true), ns_per_expert_[1]);
    sums_.makespan_ns = checked_add(sums_.makespan_ns, std::max(network_ns, intra_ns));
  }

  /// With two tiers only the imports of nodes are sure to use the slower one.
  [[nodiscard]] std::int64_t bound_ns(RoundBound const& bound) const {
    bool const network = tiers_.ranks_per_node() == 1 || bound.kind == BoundKind::node;
    bool const intra = tiers_.num_nodes() == 1;
    std::int64_t const fastest = std::min(ns_per_expert_[0], ns_per_expert_[1]);
    return checked_mul(bound.rounds, network ? ns_per_expert_[0] : intra ? ns_per_expert_[1] : fastest);
  }

  RebalanceSchedule const& schedule_;
  rebalance::Tiers tiers_;
  PortCounts group_;
  std::array<std::int64_t, 2> ns_per_expert_{};
  ScheduleTotals sums_{};
};

}  // namespace

ScheduleTotals totals(RebalanceSchedule const& schedule, LinkRates const& rates) {
  SWITCHYARD_REQUIRE(rates.network_bytes_per_us >= 1 && rates.intra_bytes_per_us >= 1, invalid_argument,
                     "link rates of {} and {} bytes per microsecond; both are at least 1", rates.network_bytes_per_us,
                     rates.intra_bytes_per_us);
  return schedule.before.num_ranks() == 0 ? ScheduleTotals{} : Sums(schedule, rates).run();
}

}  // namespace switchyard
