// SPDX-License-Identifier: Apache-2.0
#include "network/max_min.hpp"

#include <algorithm>
#include <numeric>
#include <queue>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {

MaxMinShares::MaxMinShares(ClusterTopology const& topology, std::span<Flow const> flows) {
  for (std::int32_t link = 0; link < topology.num_links(); ++link)
    capacity_.push_back(topology.bytes_per_us(LinkId(link)));
  first_hop_.push_back(0);
  for (Flow const& flow : flows) {
    Path const path = topology.path(flow.from, flow.to);
    hops_.insert(hops_.end(), path.links().begin(), path.links().end());
    first_hop_.push_back(hops_.size());
    pair_limit_.push_back(path.peer_bytes_per_us);
    latency_us_.push_back(path.latency_us);
  }
  left_.resize(capacity_.size());
  waiting_.resize(capacity_.size());
  first_flow_.resize(capacity_.size() + 1);
  frozen_.resize(flows.size());
  by_limit_.resize(flows.size());
  std::iota(by_limit_.begin(), by_limit_.end(), 0U);
  std::stable_sort(by_limit_.begin(), by_limit_.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return pair_limit_[a] < pair_limit_[b]; });
}

/// Lists the active flows of every link, flows ascending.
void MaxMinShares::load(std::span<std::uint32_t const> active) {
  left_ = capacity_;
  std::fill(waiting_.begin(), waiting_.end(), 0);
  std::fill(frozen_.begin(), frozen_.end(), std::uint8_t{1});
  for (auto const flow : active)
    for (LinkId const link : links_of(flow)) ++waiting_[link.index()];
  for (std::size_t link = 0; link < waiting_.size(); ++link)
    first_flow_[link + 1] = first_flow_[link] + to_size(waiting_[link]);
  flows_of_link_.resize(first_flow_.back());
  std::vector<std::size_t> next(first_flow_.begin(), first_flow_.end() - 1);
  for (auto const flow : active) {
    frozen_[flow] = 0;
    for (LinkId const link : links_of(flow)) flows_of_link_[next[link.index()]++] = flow;
  }
  next_limit_ = 0;
}

double MaxMinShares::share_of(std::int32_t link) const {
  return std::max(0.0, left_[to_size(link)]) / waiting_[to_size(link)];
}

void MaxMinShares::freeze(std::uint32_t flow, double at, std::vector<double>& rate) {
  frozen_[flow] = 1;
  rate[flow] = at;
  for (LinkId const link : links_of(flow)) {
    left_[link.index()] -= at;
    --waiting_[link.index()];
  }
}

void MaxMinShares::freeze_link(std::int32_t link, double share, std::vector<double>& rate) {
  for (std::size_t i = first_flow_[to_size(link)]; i < first_flow_[to_size(link) + 1]; ++i)
    if (frozen_[flows_of_link_[i]] == 0) freeze(flows_of_link_[i], share, rate);
}

/// Flows whose own limit is reached before any link's share is.
void MaxMinShares::freeze_narrow_pairs(double below, std::vector<double>& rate) {
  for (; next_limit_ < by_limit_.size(); ++next_limit_) {
    auto const flow = by_limit_[next_limit_];
    if (frozen_[flow] != 0) continue;
    if (pair_limit_[flow] > below) return;
    freeze(flow, pair_limit_[flow], rate);
  }
}

void MaxMinShares::fill(std::span<std::uint32_t const> active, std::vector<double>& rate) {
  load(active);
  auto const later = [](LinkShare const& a, LinkShare const& b) {
    return a.share != b.share ? a.share > b.share : a.link > b.link;
  };
  std::priority_queue<LinkShare, std::vector<LinkShare>, decltype(later)> narrowest(later);
  for (std::int32_t link = 0; to_size(link) < waiting_.size(); ++link)
    if (waiting_[to_size(link)] > 0) narrowest.push({share_of(link), link});
  // Shares only grow while flows freeze, so an entry that is out of date is too low and is simply put back.
  while (!narrowest.empty()) {
    LinkShare const top = narrowest.top();
    narrowest.pop();
    if (waiting_[to_size(top.link)] == 0) continue;
    freeze_narrow_pairs(top.share, rate);
    if (waiting_[to_size(top.link)] == 0) continue;
    double const share = share_of(top.link);
    if (share > top.share) {
      narrowest.push({share, top.link});
      continue;
    }
    freeze_link(top.link, share, rate);
  }
}

}  // namespace switchyard::sim
