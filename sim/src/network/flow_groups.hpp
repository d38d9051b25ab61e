// SPDX-License-Identifier: Apache-2.0
/// FlowGroups: flows that share links, directly or through others. What happens in one group is nothing to another.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/sim/flow.hpp"

namespace switchyard::sim {

class FlowGroups {
 public:
  /// O(flows + links) memory; flows that cross no link are in no group.
  FlowGroups(ClusterTopology const& topology, std::span<Flow const> flows);
  [[nodiscard]] std::size_t size() const noexcept { return first_.size() - 1; }
  /// Flow numbers, ascending. Groups are in the order of their lowest links.
  [[nodiscard]] std::span<std::uint32_t const> members(std::size_t group) const noexcept {
    return std::span(members_).subspan(first_[group], first_[group + 1] - first_[group]);
  }

 private:
  std::vector<std::size_t> first_;
  std::vector<std::uint32_t> members_;
};

}  // namespace switchyard::sim
