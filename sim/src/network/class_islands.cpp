// SPDX-License-Identifier: Apache-2.0
#include "network/class_islands.hpp"

#include <utility>

namespace switchyard::sim {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr std::uint32_t kIdlePart = 8;  // an island is gathered anew when so great a part of its classes is idle

/// Numbers every item by what it hangs together with: items of one part share links, directly or through others.
class Parts {
 public:
  Parts(WaterFill const& water, std::size_t items) : water_(water), of_item_(items, kNone), seen_(water.num_links()) {
    for (std::uint32_t item = 0; item < items; ++item)
      if (of_item_[item] == kNone) reach(item, count_++);
  }
  [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
  [[nodiscard]] std::uint32_t of_item(std::size_t item) const noexcept { return of_item_[item]; }

 private:
  static constexpr std::uint32_t kNone = ClassIslands::kNone;

  void reach(std::uint32_t first, std::uint32_t part) {
    of_item_[first] = part;
    found_.assign(1, first);
    for (std::size_t i = 0; i < found_.size(); ++i)
      for (std::uint32_t const link : water_.links_of(found_[i])) {
        if (std::exchange(seen_[link], char{1}) != 0) continue;
        water_.for_each_item_on(link, [&](std::uint32_t item) {
          if (std::exchange(of_item_[item], part) == kNone) found_.push_back(item);
        });
      }
  }

  WaterFill const& water_;
  std::vector<std::uint32_t> of_item_, found_{};
  std::vector<char> seen_;
  std::uint32_t count_ = 0;
};

}  // namespace

std::uint32_t ClassIslands::add_class(std::span<std::uint32_t const> links, double limit) {
  FlowClass added;
  added.first_link = static_cast<std::uint32_t>(links_.size());
  added.num_links = static_cast<std::uint32_t>(links.size());
  added.limit = limit;
  links_.insert(links_.end(), links.begin(), links.end());
  classes_.push_back(added);
  return num_classes() - 1;
}

std::uint32_t ClassIslands::fresh(double at_us) {
  auto number = static_cast<std::uint32_t>(islands_.size());
  if (free_.empty()) {
    islands_.emplace_back();
  } else {
    number = free_.back();
    free_.pop_back();
  }
  islands_[number].at_us = at_us;
  return number;
}

void ClassIslands::renew(std::uint32_t island) {
  std::uint32_t const version = islands_[island].version + 1;
  islands_[island] = Island{};
  islands_[island].version = version;
}

void ClassIslands::release(std::uint32_t island) {
  renew(island);
  free_.push_back(island);
}

void ClassIslands::put(std::uint32_t island, std::uint32_t number, double sent, double next) {
  Island& one = islands_[island];
  classes_[number].island = island;
  classes_[number].place = static_cast<std::uint32_t>(one.classes.size());
  one.classes.push_back(number);
  one.sent.push_back(sent);
  one.rate.push_back(0);
  one.next.push_back(next);
}

/// Rates are forgotten: the islands must be at the same time, and are filled before they go on.
void ClassIslands::absorb(std::uint32_t into, std::uint32_t from) {
  Island const& b = islands_[from];
  for (std::uint32_t const link : b.links) of_link_[link] = into;
  islands_[into].links.insert(islands_[into].links.end(), b.links.begin(), b.links.end());
  for (std::size_t i = 0; i < b.classes.size(); ++i) put(into, b.classes[i], b.sent[i], b.next[i]);
  islands_[into].loose = islands_[into].loose || b.loose;
  islands_[into].grown = true;
  release(from);
}

std::uint32_t ClassIslands::unite(std::uint32_t number, double at_us) {
  FlowClass const& one = classes_[number];
  std::uint32_t island = one.island;
  for (std::uint32_t const link : links_of(one)) {
    std::uint32_t other = of_link_[link];
    if (other == kNone || other == island) continue;
    if (island == kNone) {
      island = other;
      continue;
    }
    if (islands_[other].classes.size() > islands_[island].classes.size()) std::swap(island, other);
    absorb(island, other);
  }
  if (island == kNone) island = fresh(at_us);
  for (std::uint32_t const link : links_of(one)) {
    if (of_link_[link] != kNone) continue;
    of_link_[link] = island;
    islands_[island].links.push_back(link);
    islands_[island].grown = true;
  }
  return island;
}

std::uint32_t ClassIslands::add_flow(std::uint32_t number, double at_us) {
  std::uint32_t const island = unite(number, at_us);
  FlowClass& one = classes_[number];
  Island& home = islands_[island];
  if (one.island == kNone) {
    put(island, number, 0, kNever);
    home.grown = true;
  } else if (one.flows == 0) {
    home.sent[one.place] = 0;
    --home.idle;
  }
  ++one.flows;
  if (!home.grown) home.water.add_flow(one.place);
  return island;
}

void ClassIslands::remove_flow(std::uint32_t number) {
  FlowClass& one = classes_[number];
  Island& island = islands_[one.island];
  if (!island.grown) island.water.remove_flow(one.place);
  if (--one.flows > 0) return;
  island.next[one.place] = kNever;
  ++island.idle;
}

/// Drops classes without flows and links without classes.
void ClassIslands::gather(std::uint32_t island) {
  Island& one = islands_[island];
  for (std::uint32_t const link : one.links) of_link_[link] = kNone;
  one.links.clear();
  std::size_t kept = 0;
  for (std::size_t i = 0; i < one.classes.size(); ++i) {
    std::uint32_t const number = one.classes[i];
    if (classes_[number].flows == 0) {
      classes_[number].island = kNone;
      continue;
    }
    for (std::uint32_t const link : links_of(classes_[number]))
      if (std::exchange(of_link_[link], island) == kNone) one.links.push_back(link);
    classes_[number].place = static_cast<std::uint32_t>(kept);
    one.classes[kept] = number;
    one.sent[kept] = one.sent[i];
    one.rate[kept] = one.rate[i];
    one.next[kept++] = one.next[i];
  }
  one.classes.resize(kept);
  one.sent.resize(kept);
  one.rate.resize(kept);
  one.next.resize(kept);
  one.idle = 0;
  one.grown = false;
  compile(one);
}

void ClassIslands::compile(Island& island) {
  auto& [capacity, items, links] = problem_;
  capacity.clear();
  items.clear();
  links.clear();
  for (std::uint32_t const link : island.links) {
    local_[link] = static_cast<std::uint32_t>(capacity.size());
    capacity.push_back(capacity_[link]);
  }
  for (std::uint32_t const number : island.classes) {
    FlowClass const& one = classes_[number];
    items.push_back({static_cast<std::uint32_t>(links.size()), one.num_links, one.flows, one.limit});
    for (std::uint32_t const link : links_of(one)) links.push_back(local_[link]);
  }
  island.water.reset(capacity, items, links);
}

void ClassIslands::split(std::uint32_t island, std::vector<std::uint32_t>& parts) {
  Parts const apart(islands_[island].water, islands_[island].classes.size());
  parts.assign(1, island);
  if (apart.count() == 1) return;
  Island const whole = std::move(islands_[island]);
  for (std::uint32_t const link : whole.links) of_link_[link] = kNone;
  renew(island);
  islands_[island].at_us = whole.at_us;
  for (std::uint32_t part = 1; part < apart.count(); ++part) parts.push_back(fresh(whole.at_us));
  for (std::size_t i = 0; i < whole.classes.size(); ++i)
    put(parts[apart.of_item(i)], whole.classes[i], whole.sent[i], whole.next[i]);
  for (std::uint32_t const part : parts) gather(part);
}

void ClassIslands::regroup(std::uint32_t island, std::vector<std::uint32_t>& parts) {
  Island const& one = islands_[island];
  parts.clear();
  if (one.grown || one.loose || one.idle * kIdlePart >= one.classes.size()) gather(island);
  if (one.classes.empty()) return release(island);
  parts.assign(1, island);
  if (one.loose) split(island, parts);
}

}  // namespace switchyard::sim
