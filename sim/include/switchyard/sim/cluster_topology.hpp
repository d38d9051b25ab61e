// SPDX-License-Identifier: Apache-2.0
/// ClusterTopology: the directed links of a cluster and the way bytes take between two ranks.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/sim/cluster_spec.hpp"
#include "switchyard/types/fingerprint.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard::sim {

/// A directed link, numbered class by class.
using LinkId = StrongId<struct LinkTag>;

enum class LinkClass : std::uint8_t {
  gpu_out,      ///< a GPU's port into its node's fabric
  gpu_in,       ///< the same port, other direction
  pcie_out,     ///< a PCIe switch towards the host bridge
  pcie_in,      ///< the host bridge towards a PCIe switch
  host_bridge,  ///< a node's bridge, shared by both directions
  nic_out,
  nic_in,
  leaf_up,    ///< a leaf switch towards the spine
  leaf_down,  ///< the spine towards a leaf switch
};
inline constexpr int kNumLinkClasses = 9;
[[nodiscard]] std::string_view to_string(LinkClass link_class) noexcept;

/// The links a byte crosses, in order; a local path has none.
struct Path {
  static constexpr int kMaxHops = 9;  ///< five inside a PCIe node, four between nodes
  std::array<LinkId, kMaxHops> hops{};
  int num_hops = 0;
  double latency_us = 0;         ///< of all hops together
  double message_us = 0;         ///< what one message costs the sender
  double peer_bytes_per_us = 0;  ///< limit of this pair alone; infinity where there is none

  /// Of a path that has a name: a span into a temporary would outlive it in a range-based for.
  [[nodiscard]] std::span<LinkId const> links() const& noexcept {
    return std::span(hops).first(static_cast<std::size_t>(num_hops));
  }
  std::span<LinkId const> links() const&& = delete;
};

/// Ranks are GPUs, node by node. Holds O(links) numbers, never ranks x ranks.
class ClusterTopology {
 public:
  /// @throws Error{invalid_argument} as require_valid.
  explicit ClusterTopology(ClusterSpec spec);

  [[nodiscard]] ClusterSpec const& spec() const noexcept { return spec_; }
  [[nodiscard]] int num_ranks() const noexcept { return spec_.num_ranks(); }
  [[nodiscard]] int num_links() const noexcept { return first_of_class_.back(); }
  [[nodiscard]] NodeId node_of(RankId rank) const noexcept { return NodeId(rank.value() / spec_.gpus_per_node); }
  /// Below: @throws Error{invalid_argument} for a link or rank outside the cluster.
  [[nodiscard]] LinkClass class_of(LinkId link) const;
  [[nodiscard]] double bytes_per_us(LinkId link) const;
  /// @return e.g. "gpu_out of rank 3", "leaf_up of leaf 2".
  [[nodiscard]] std::string name_of(LinkId link) const;
  /// @return the way from `from` to `to`; no hops when they are the same rank. O(1), no allocation.
  [[nodiscard]] Path path(RankId from, RankId to) const;
  /// @return the first link of `link_class`; its links follow each other.
  [[nodiscard]] LinkId first_link(LinkClass link_class) const noexcept;

  /// Digest of every constant that changes a result.
  [[nodiscard]] Fingerprint fingerprint() const;

 private:
  class Route;
  /// Where a rank hangs: looked up, because a path would otherwise divide a dozen times.
  struct Place {
    std::int32_t node, local, nic, leaf, pcie_switch;  // local: inside the node; nic: over all nodes
  };

  ClusterSpec spec_;
  std::array<std::int32_t, kNumLinkClasses + 1> first_of_class_{};
  std::array<double, kNumLinkClasses> class_bytes_per_us_{};
  std::vector<Place> places_{};  // [ranks]
};

}  // namespace switchyard::sim
