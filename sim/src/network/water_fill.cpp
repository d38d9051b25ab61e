// SPDX-License-Identifier: Apache-2.0
#include "network/water_fill.hpp"

#include <algorithm>
#include <cmath>

#include "network/least_value.hpp"

namespace switchyard::sim {
namespace {

constexpr double kNone = HUGE_VAL;

}  // namespace

void WaterFill::reset(std::span<double const> capacity, std::span<FillItem const> items,
                      std::span<std::uint32_t const> links) {
  capacity_.assign(capacity.begin(), capacity.end());
  items_.assign(items.begin(), items.end());
  links_.assign(links.begin(), links.end());
  flows_of_.resize(items_.size());
  flows_on_.assign(capacity_.size(), 0);
  first_hop_.assign(capacity_.size() + 1, 0);
  loads_.resize(capacity_.size());
  share_.resize(capacity_.size());
  frozen_.resize(items_.size());
  least_of_block_.resize((capacity_.size() + kBlock - 1) / kBlock);
  stale_.resize(least_of_block_.size());
  list_hops();
  by_limit_.clear();
  for (std::uint32_t i = 0; i < items_.size(); ++i)
    if (std::isfinite(items_[i].limit)) by_limit_.push_back(i);
  std::stable_sort(by_limit_.begin(), by_limit_.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return items_[a].limit < items_[b].limit; });
}

/// Items of a link ascending.
void WaterFill::list_hops() {
  for (std::uint32_t i = 0; i < items_.size(); ++i) {
    flows_of_[i] = items_[i].flows;
    for (std::uint32_t const link : links_of(i)) {
      flows_on_[link] += items_[i].flows;
      ++first_hop_[link + 1];
    }
  }
  for (std::size_t link = 0; link < capacity_.size(); ++link) first_hop_[link + 1] += first_hop_[link];
  hops_.resize(first_hop_.back());
  next_hop_.assign(first_hop_.begin(), first_hop_.end() - 1);
  for (std::uint32_t i = 0; i < items_.size(); ++i) {
    auto const links = links_of(i);
    for (std::uint32_t const link : links) {
      std::uint32_t const other = links.front() == link ? links.back() : links.front();
      hops_[next_hop_[link]++] = {i, links.size() > 2 ? kMany : other};
    }
  }
}

void WaterFill::change_flows(std::uint32_t item, double by) {
  flows_of_[item] += by;
  for (std::uint32_t const link : links_of(item)) flows_on_[link] += by;
}

void WaterFill::load() {
  std::fill(frozen_.begin(), frozen_.end(), std::uint8_t{0});
  next_limit_ = 0;
  for (std::size_t link = 0; link < loads_.size(); ++link) {
    loads_[link] = {capacity_[link], flows_on_[link]};
    share_[link] = flows_on_[link] > 0 ? capacity_[link] / flows_on_[link] : kNone;
  }
  for (std::size_t block = 0; block < stale_.size(); ++block) scan(block);
}

void WaterFill::scan(std::size_t block) {
  std::size_t const first = block * kBlock;
  auto const shares = std::span(share_).subspan(first, std::min(kBlock, share_.size() - first));
  least_of_block_[block] = least_value(shares);
  stale_[block] = 0;
}

/// The first link with the least share. Shares only grow while flows freeze, so what a block had is never too high.
std::uint32_t WaterFill::least() {
  while (true) {
    double const share = least_value(least_of_block_);
    auto const block = static_cast<std::size_t>(std::find(least_of_block_.begin(), least_of_block_.end(), share) -
                                                least_of_block_.begin());
    if (stale_[block] == 0) {
      auto const begin = share_.begin() + static_cast<std::ptrdiff_t>(block * kBlock);
      return static_cast<std::uint32_t>(std::find(begin, share_.end(), share) - share_.begin());
    }
    scan(block);
  }
}

inline void WaterFill::take(std::uint32_t link, double at, double flows) {
  Load& load = loads_[link];
  load.left -= at * flows;
  load.waiting -= flows;
  share_[link] = load.waiting > 0 ? load.left / load.waiting : kNone;
  stale_[link / kBlock] = 1;
}

void WaterFill::freeze(std::uint32_t item, double at) {
  frozen_[item] = 1;
  rates_[item] = at;
  for (std::uint32_t const link : links_of(item)) take(link, at, flows_of_[item]);
}

/// Of the link itself nothing is left.
void WaterFill::freeze_link(std::uint32_t link, double at) {
  for (std::uint32_t i = first_hop_[link]; i < first_hop_[link + 1]; ++i) {
    Hop const hop = hops_[i];
    if (frozen_[hop.item] != 0) continue;
    if (hop.other == kMany) {
      freeze(hop.item, at);
      continue;
    }
    frozen_[hop.item] = 1;
    rates_[hop.item] = at;
    take(hop.other, at, flows_of_[hop.item]);
  }
  loads_[link].waiting = 0;
  share_[link] = kNone;
  stale_[link / kBlock] = 1;
}

/// Items whose own limit is reached before any link's share is. @return whether there are any.
bool WaterFill::freeze_narrow_items(double below) {
  bool any = false;
  for (; next_limit_ < by_limit_.size() && items_[by_limit_[next_limit_]].limit <= below; ++next_limit_) {
    std::uint32_t const item = by_limit_[next_limit_];
    if (frozen_[item] != 0) continue;
    freeze(item, items_[item].limit);
    any = true;
  }
  return any;
}

void WaterFill::fill(std::span<double> rates) {
  rates_ = rates;
  load();
  double level = 0;
  while (!share_.empty()) {
    std::uint32_t const link = least();
    if (share_[link] == kNone) break;
    level = std::max(level, share_[link]);  // rounding may take a share below the one before
    if (!freeze_narrow_items(level)) freeze_link(link, level);
  }
  (void)freeze_narrow_items(kNone);
}

}  // namespace switchyard::sim
