// SPDX-License-Identifier: Apache-2.0
/// Flow: bytes from one rank to another, and the exact account of what every link carries.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/sim/cluster_topology.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard::sim {

struct Flow {
  RankId from{};
  RankId to{};
  std::int64_t bytes = 0;
  std::int64_t messages = 1;
  double start_us = 0;
  friend bool operator==(Flow const&, Flow const&) = default;
};

/// Bytes and messages of every link, of every rank's sends and receives, and of ranks to themselves. Flows are streamed
/// through add(); the account holds O(links + ranks).
class LinkAccount {
 public:
  /// @param topology must outlive the account.
  explicit LinkAccount(ClusterTopology const& topology);

  /// @throws Error{invalid_argument} for a rank outside the cluster, negative bytes or messages, a start that is
  ///         negative or not finite, or sums beyond 64 bits.
  void add(Flow const& flow);
  void add(std::span<Flow const> flows);

  [[nodiscard]] ClusterTopology const& topology() const noexcept { return *topology_; }
  [[nodiscard]] std::int64_t link_bytes(LinkId link) const;
  [[nodiscard]] std::int64_t link_messages(LinkId link) const;
  [[nodiscard]] std::int64_t sent_bytes(RankId rank) const;
  [[nodiscard]] std::int64_t received_bytes(RankId rank) const;
  [[nodiscard]] std::int64_t total_bytes() const noexcept { return total_bytes_; }
  [[nodiscard]] std::int64_t total_messages() const noexcept { return total_messages_; }
  [[nodiscard]] std::int64_t local_bytes() const noexcept { return local_bytes_; }  ///< from a rank to itself

  /// No schedule of the flows is faster (T0): for every link, its bytes over its capacity after its earliest start,
  /// plus the least latency of its flows; for every sender, its message costs; for every flow, its own pair limit.
  [[nodiscard]] double lower_bound_us() const noexcept;
  /// @return the link that attains the bound, or -1 when a sender's messages or a single pair do.
  [[nodiscard]] LinkId bottleneck() const noexcept;

 private:
  struct LinkState {
    std::int64_t bytes = 0;
    std::int64_t messages = 0;
    double earliest_us = 0;
    double least_latency_us = 0;
  };
  void add_to_link(LinkId link, Flow const& flow, Path const& path);
  [[nodiscard]] double bound_of_link(LinkId link) const;

  ClusterTopology const* topology_;
  std::vector<LinkState> links_;
  std::vector<std::int64_t> sent_bytes_, received_bytes_;
  std::vector<double> sender_us_;
  double flow_bound_us_ = 0;
  std::int64_t total_bytes_ = 0, total_messages_ = 0, local_bytes_ = 0;
};

}  // namespace switchyard::sim
