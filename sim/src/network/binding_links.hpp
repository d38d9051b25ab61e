// SPDX-License-Identifier: Apache-2.0
/// BindingLinks: which links can bind while the active flows change.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "network/flow_paths.hpp"
#include "network/number_table.hpp"

namespace switchyard::sim {

/// A link cannot bind when narrower links already keep its flows below its capacity: the flows of a link are parted by
/// the narrowest link of their paths, each part brings at most what that link carries (or its flows' own limits), and
/// the parts add up to no more than the capacity. Max-min rates depend only on what is feasible, so such a link may be
/// left out without changing a rate. Two partings are tried, as equally narrow links stand at both ends of a path.
/// A link leans only on links that are narrower, or equal with a lower number, so no two lean on each other.
///
/// Sums are integers (1/16 bytes per us), capacities of parts rounded up and of the link down.
class BindingLinks {
 public:
  explicit BindingLinks(FlowPaths const& paths);

  /// A flow becomes active or ends. O(hops).
  void add(std::uint32_t flow) { change(flow, 1); }
  void remove(std::uint32_t flow) { change(flow, -1); }

  [[nodiscard]] bool can_bind(std::uint32_t link) const noexcept {
    Bound const& bound = bounds_[link];
    return bound.units[0] > bound.capacity && bound.units[1] > bound.capacity;
  }

 private:
  struct Part {
    std::uint32_t link = 0;
    std::int64_t most = 0;   ///< what the narrower link carries
    std::int64_t limit = 0;  ///< of a flow, the widest
    std::int64_t flows = 0;  ///< active ones
    [[nodiscard]] std::int64_t units() const noexcept;
  };
  struct Parting {
    NumberTable table{};
    std::vector<Part> parts{};
    std::vector<std::uint32_t> part_of_hop{};
  };
  struct Bound {
    std::array<std::int64_t, 2> units{};
    std::int64_t capacity = 0;
  };

  [[nodiscard]] bool leans(std::uint32_t link, std::uint32_t feeder) const noexcept;
  void assign(Parting& parting, std::uint32_t flow, std::uint32_t link, std::uint32_t feeder);
  void change(std::uint32_t flow, std::int64_t by);

  FlowPaths const& paths_;
  std::vector<Bound> bounds_;  // [links]
  std::array<Parting, 2> partings_;
};

}  // namespace switchyard::sim
