// SPDX-License-Identifier: Apache-2.0
/// MaxMinShares: max-min fair rates of flows over shared links, by progressive filling.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/sim/flow.hpp"

namespace switchyard::sim {

/// The incidence of flows and links, built once; rates for any subset of the flows.
class MaxMinShares {
 public:
  MaxMinShares(ClusterTopology const& topology, std::span<Flow const> flows);

  [[nodiscard]] std::span<LinkId const> links_of(std::size_t flow) const noexcept {
    return std::span(hops_).subspan(first_hop_[flow], first_hop_[flow + 1] - first_hop_[flow]);
  }
  [[nodiscard]] double latency_us(std::size_t flow) const noexcept { return latency_us_[flow]; }

  /// Rates in bytes per us of `active` flows (ascending); rate[f] of others is not touched.
  ///
  /// Every flow gets as much as the flow next to it at its narrowest link, unless its own pair limit is lower: no rate
  /// can grow without taking from a flow that has no more, so no link idles that an unfinished flow waits for.
  /// O((active * hops + links) log links); ties are broken by link number, so rates have equal bits on every machine.
  void fill(std::span<std::uint32_t const> active, std::vector<double>& rate);

 private:
  struct LinkShare {
    double share;
    std::int32_t link;
  };
  void load(std::span<std::uint32_t const> active);
  void freeze(std::uint32_t flow, double at, std::vector<double>& rate);
  [[nodiscard]] double share_of(std::int32_t link) const;
  void freeze_link(std::int32_t link, double share, std::vector<double>& rate);
  void freeze_narrow_pairs(double below, std::vector<double>& rate);

  std::vector<double> capacity_;
  std::vector<double> pair_limit_, latency_us_;
  std::vector<std::size_t> first_hop_;
  std::vector<LinkId> hops_;

  std::vector<double> left_;           // [links] capacity that frozen flows have not taken
  std::vector<std::int32_t> waiting_;  // [links] active flows that are not frozen
  std::vector<std::size_t> first_flow_;
  std::vector<std::uint32_t> flows_of_link_;
  std::vector<std::uint8_t> frozen_;     // 1 for flows that are not active, too
  std::vector<std::uint32_t> by_limit_;  // all flows, pair limit ascending
  std::size_t next_limit_ = 0;
};

}  // namespace switchyard::sim
