// SPDX-License-Identifier: Apache-2.0
#include "network/flow_paths.hpp"

#include <algorithm>
#include <limits>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {

std::uint32_t LocalLinks::of(LinkId link) {
  std::int32_t& local = local_of_[link.index()];
  if (local < 0) {
    local = static_cast<std::int32_t>(links_.size());
    links_.push_back(link);
  }
  return static_cast<std::uint32_t>(local);
}

void LocalLinks::clear() {
  for (LinkId const link : links_) local_of_[link.index()] = -1;
  links_.clear();
}

void FlowPaths::reset(ClusterTopology const& topology, std::span<Flow const> flows,
                      std::span<std::uint32_t const> members, LocalLinks& local) {
  local.clear();
  capacity.clear();
  limit.clear();
  latency_us.clear();
  first_hop.clear();
  hops.clear();
  limit.reserve(members.size());
  latency_us.reserve(members.size());
  first_hop.reserve(members.size() + 1);
  first_hop.push_back(0);
  hops.reserve(4 * members.size());
  for (std::uint32_t const flow : members) {
    Path const path = topology.path(flows[flow].from, flows[flow].to);
    double narrowest = std::numeric_limits<double>::infinity();
    for (LinkId const link : path.links()) {
      hops.push_back(local.of(link));
      if (hops.back() == capacity.size()) capacity.push_back(topology.bytes_per_us(link));
      narrowest = std::min(narrowest, capacity[hops.back()]);
    }
    first_hop.push_back(static_cast<std::uint32_t>(hops.size()));
    limit.push_back(path.peer_bytes_per_us < narrowest ? path.peer_bytes_per_us
                                                       : std::numeric_limits<double>::infinity());
    latency_us.push_back(path.latency_us);
  }
}

}  // namespace switchyard::sim
