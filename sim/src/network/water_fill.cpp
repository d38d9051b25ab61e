// SPDX-License-Identifier: Apache-2.0
#include "network/water_fill.hpp"

#include <algorithm>
#include <cmath>

namespace switchyard::sim {

WaterFill::WaterFill(std::vector<double> capacity)
    : capacity_(std::move(capacity)), waiting_(capacity_.size()), first_item_(capacity_.size() + 1) {}

/// Lists the items of every link, items ascending, and the items with a limit.
void WaterFill::load() {
  left_ = capacity_;
  std::fill(waiting_.begin(), waiting_.end(), 0);
  std::fill(first_item_.begin(), first_item_.end(), 0U);
  for (FillItem const& item : items_)
    for (std::uint32_t const link : links_of(item)) {
      waiting_[link] += item.flows;
      ++first_item_[link + 1];
    }
  for (std::size_t link = 0; link < waiting_.size(); ++link) first_item_[link + 1] += first_item_[link];
  items_of_link_.resize(first_item_.back());
  next_item_.assign(first_item_.begin(), first_item_.end() - 1);
  by_limit_.clear();
  for (std::uint32_t i = 0; i < items_.size(); ++i) {
    for (std::uint32_t const link : links_of(items_[i])) items_of_link_[next_item_[link]++] = i;
    if (std::isfinite(items_[i].limit)) by_limit_.push_back(i);
  }
  std::stable_sort(by_limit_.begin(), by_limit_.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return items_[a].limit < items_[b].limit; });
  frozen_.assign(items_.size(), 0);
  next_limit_ = 0;
}

void WaterFill::freeze(std::uint32_t item, double at) {
  frozen_[item] = 1;
  rates_[item] = at;
  for (std::uint32_t const link : links_of(items_[item])) {
    left_[link] -= at * items_[item].flows;
    waiting_[link] -= items_[item].flows;
  }
}

void WaterFill::freeze_link(std::uint32_t link, double share) {
  for (std::uint32_t i = first_item_[link]; i < first_item_[link + 1]; ++i)
    if (frozen_[items_of_link_[i]] == 0) freeze(items_of_link_[i], share);
}

/// Items whose own limit is reached before any link's share is.
void WaterFill::freeze_narrow_items(double below) {
  for (; next_limit_ < by_limit_.size() && items_[by_limit_[next_limit_]].limit <= below; ++next_limit_) {
    std::uint32_t const item = by_limit_[next_limit_];
    if (frozen_[item] == 0) freeze(item, items_[item].limit);
  }
}

void WaterFill::fill(std::span<FillItem const> items, std::span<std::uint32_t const> links, std::span<double> rates) {
  items_ = items;
  links_ = links;
  rates_ = rates;
  load();
  auto const later = [](LinkShare const& a, LinkShare const& b) {
    return a.share != b.share ? a.share > b.share : a.link > b.link;
  };
  heap_.clear();
  for (std::uint32_t link = 0; link < waiting_.size(); ++link)
    if (waiting_[link] > 0) heap_.push_back({share_of(link), link});
  std::make_heap(heap_.begin(), heap_.end(), later);
  // Shares only grow while flows freeze, so an entry that is out of date is too low and is simply put back.
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), later);
    LinkShare& top = heap_.back();
    if (waiting_[top.link] > 0) freeze_narrow_items(top.share);
    double const share = waiting_[top.link] > 0 ? share_of(top.link) : 0;
    if (share > top.share) {
      top.share = share;
      std::push_heap(heap_.begin(), heap_.end(), later);
      continue;
    }
    if (waiting_[top.link] > 0) freeze_link(top.link, top.share);
    heap_.pop_back();
  }
  freeze_narrow_items(HUGE_VAL);
}

}  // namespace switchyard::sim
