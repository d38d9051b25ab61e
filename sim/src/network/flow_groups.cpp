// SPDX-License-Identifier: Apache-2.0
#include "network/flow_groups.hpp"

#include <limits>
#include <numeric>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

/// Links that flows tie together; the lowest link stands for its set.
class LinkSets {
 public:
  explicit LinkSets(std::size_t links) : parent_(links) { std::iota(parent_.begin(), parent_.end(), 0U); }

  std::uint32_t find(std::uint32_t link) {
    while (parent_[link] != link) link = parent_[link] = parent_[parent_[link]];
    return link;
  }
  /// @param root of a set, or kNone. @return the root of that set and the link's together.
  std::uint32_t join(std::uint32_t root, std::uint32_t link) {
    link = find(link);
    if (root == kNone || root == link) return link;
    return root < link ? parent_[link] = root : parent_[root] = link;
  }

 private:
  std::vector<std::uint32_t> parent_;
};

std::uint32_t number_of(LinkId link) {
  return static_cast<std::uint32_t>(link.value());
}

/// [flows] the first link of each, kNone for local flows; ties the links of each flow together.
std::vector<std::uint32_t> first_links(ClusterTopology const& topology, std::span<Flow const> flows, LinkSets& sets) {
  std::vector<std::uint32_t> first;
  first.reserve(flows.size());
  for (Flow const& flow : flows) {
    Path const path = topology.path(flow.from, flow.to);
    first.push_back(path.num_hops > 0 ? number_of(path.hops[0]) : kNone);
    std::uint32_t root = kNone;
    for (LinkId const link : path.links()) root = sets.join(root, number_of(link));
  }
  return first;
}

}  // namespace

FlowGroups::FlowGroups(ClusterTopology const& topology, std::span<Flow const> flows) {
  LinkSets sets(to_size(topology.num_links()));
  auto group_of = first_links(topology, flows, sets);
  std::vector<std::size_t> count(to_size(topology.num_links()), 0);
  for (std::uint32_t& link : group_of) {
    if (link == kNone) continue;
    link = sets.find(link);
    ++count[link];
  }
  first_.push_back(0);
  std::vector<std::size_t> next(count.size());
  for (std::size_t link = 0; link < count.size(); ++link) {
    next[link] = first_.back();
    if (count[link] > 0) first_.push_back(first_.back() + count[link]);
  }
  members_.resize(first_.back());
  for (std::uint32_t flow = 0; flow < group_of.size(); ++flow)
    if (group_of[flow] != kNone) members_[next[group_of[flow]]++] = flow;
}

}  // namespace switchyard::sim
