// SPDX-License-Identifier: Apache-2.0
/// FlowPaths: the links and the own limit of every flow of a group, links numbered within the group.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/sim/flow.hpp"

namespace switchyard::sim {

/// Numbers the links of one group at a time: 0, 1, ... in the order in which they are asked for.
class LocalLinks {
 public:
  explicit LocalLinks(ClusterTopology const& topology)
      : local_of_(static_cast<std::size_t>(topology.num_links()), -1) {}
  [[nodiscard]] std::uint32_t of(LinkId link);
  [[nodiscard]] std::span<LinkId const> links() const noexcept { return links_; }
  void clear();

 private:
  std::vector<std::int32_t> local_of_;
  std::vector<LinkId> links_;
};

struct FlowPaths {
  FlowPaths() = default;
  FlowPaths(ClusterTopology const& topology, std::span<Flow const> flows, std::span<std::uint32_t const> members,
            LocalLinks& local) {
    reset(topology, flows, members, local);
  }

  /// Begins anew, in the memory it has.
  /// @param members flow numbers, none local. @param local cleared first, used for the numbers.
  void reset(ClusterTopology const& topology, std::span<Flow const> flows, std::span<std::uint32_t const> members,
             LocalLinks& local);

  [[nodiscard]] std::size_t num_flows() const noexcept { return limit.size(); }
  [[nodiscard]] std::span<std::uint32_t const> links_of(std::size_t flow) const noexcept {
    return std::span(hops).subspan(first_hop[flow], first_hop[flow + 1] - first_hop[flow]);
  }

  std::vector<double> capacity{};          ///< [links] bytes per us
  std::vector<double> limit{};             ///< [flows] of the pair; infinity where a link of the path is no wider
  std::vector<double> latency_us{};        ///< [flows]
  std::vector<std::uint32_t> first_hop{};  ///< [flows + 1]
  std::vector<std::uint32_t> hops{};       ///< links, flow by flow
};

}  // namespace switchyard::sim
