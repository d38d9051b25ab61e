// SPDX-License-Identifier: Apache-2.0
#include "network/flow_classes.hpp"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "network/least_value.hpp"

namespace switchyard::sim {
namespace {

constexpr std::uint32_t kNone = NumberTable::kNone;

std::uint64_t mixed(std::uint64_t hash, std::uint64_t value) {
  hash = (hash ^ value) * 0xff51afd7ed558ccdU;
  return hash ^ hash >> 32;
}

}  // namespace

FlowClasses::FlowClasses(FlowPaths const& paths)
    : paths_(paths),
      binding_(paths),
      islands_(paths.capacity),
      class_of_(paths.num_flows(), kNone),
      end_sent_(paths.num_flows()),
      first_flow_(paths.capacity.size() + 1),
      flows_of_link_(paths.hops.size()),
      binds_(paths.capacity.size()),
      touched_(paths.capacity.size()),
      is_moved_(paths.num_flows()) {
  for (std::uint32_t const link : paths.hops) ++first_flow_[link + 1];
  for (std::size_t link = 0; link + 1 < first_flow_.size(); ++link) first_flow_[link + 1] += first_flow_[link];
  std::vector<std::uint32_t> next(first_flow_.begin(), first_flow_.end() - 1);
  for (std::uint32_t flow = 0; flow < paths.num_flows(); ++flow)
    for (std::uint32_t const link : paths.links_of(flow)) flows_of_link_[next[link]++] = flow;
}

void FlowClasses::touch(std::uint32_t flow) {
  for (std::uint32_t const link : paths_.links_of(flow)) {
    if (touched_[link] != 0) continue;
    touched_[link] = 1;
    touched_links_.push_back(link);
  }
}

void FlowClasses::start(std::uint32_t flow, double bytes) {
  binding_.add(flow);
  touch(flow);
  ++num_active_;
  end_sent_[flow] = bytes;  // joins a class when it is known which links bind
  is_moved_[flow] = 1;
  moved_.push_back(flow);
}

/// Active flows on links that have come to bind or have ceased to.
void FlowClasses::find_moved_flows(double now_us) {
  for (std::uint32_t const link : touched_links_) {
    touched_[link] = 0;
    std::uint8_t const binds = binding_.can_bind(link) ? 1 : 0;
    if (binds == binds_[link]) continue;
    binds_[link] = binds;
    if (std::uint32_t const island = islands_.of_link(link); binds == 0 && island != kNone) {
      dirty(island, now_us);
      islands_[island].loose = true;
    }
    for (std::uint32_t i = first_flow_[link]; i < first_flow_[link + 1]; ++i) {
      std::uint32_t const flow = flows_of_link_[i];
      if (class_of_[flow] == kNone || is_moved_[flow] != 0) continue;
      is_moved_[flow] = 1;
      moved_.push_back(flow);
    }
  }
  touched_links_.clear();
}

void FlowClasses::bring_up(std::uint32_t island, double us) {
  Island& one = islands_[island];
  double const by_us = us - one.at_us;
  if (by_us <= 0) return;
  for (std::size_t i = 0; i < one.sent.size(); ++i) one.sent[i] += one.rate[i] * by_us;
  one.at_us = us;
}

/// Marks an island to be filled anew from `now_us`, or from where it is.
void FlowClasses::dirty(std::uint32_t island, double now_us) {
  bring_up(island, now_us);
  if (islands_[island].dirty) return;
  islands_[island].dirty = true;
  dirty_.push_back(island);
}

std::uint32_t FlowClasses::class_for(std::uint32_t flow) {
  key_.clear();
  for (std::uint32_t const link : paths_.links_of(flow))
    if (binds_[link] != 0) key_.push_back(link);
  double const limit = paths_.limit[flow];
  std::uint64_t hash = std::bit_cast<std::uint64_t>(limit);
  for (std::uint32_t const link : key_) hash = mixed(hash, link + 1);
  auto const fresh = islands_.num_classes();
  auto const found = class_table_.find_or_add(hash, fresh, [&](std::uint32_t number) {
    FlowClass const& known = islands_.class_at(number);
    auto const links = islands_.links_of(known);
    return known.limit == limit && std::equal(key_.begin(), key_.end(), links.begin(), links.end());
  });
  if (found != fresh) return found;
  ends_.emplace_back();
  return islands_.add_class(key_, limit);
}

/// The islands of its links become one, at the time of the one that is furthest.
void FlowClasses::join(std::uint32_t flow, double bytes, double now_us) {
  std::uint32_t const number = class_for(flow);
  FlowClass& one = islands_.class_at(number);
  islands_here_.clear();
  if (one.island != kNone) islands_here_.push_back(one.island);
  for (std::uint32_t const link : key_)
    if (islands_.of_link(link) != kNone) islands_here_.push_back(islands_.of_link(link));
  for (std::uint32_t const island : islands_here_) now_us = std::max(now_us, islands_[island].at_us);
  for (std::uint32_t const island : islands_here_) dirty(island, now_us);
  dirty(islands_.add_flow(number, now_us), now_us);
  if (one.flows == 1) ends_[number].clear();
  class_of_[flow] = number;
  end_sent_[flow] = islands_.sent_by(one) + bytes;
  double& next = islands_.next_of(one);
  next = std::min(next, end_sent_[flow]);
  ends_[number].push_back({end_sent_[flow], flow});
  std::push_heap(ends_[number].begin(), ends_[number].end(), later);
}

void FlowClasses::move(std::uint32_t flow, double now_us) {
  is_moved_[flow] = 0;
  double bytes = end_sent_[flow];
  if (class_of_[flow] != kNone) {
    FlowClass& from = islands_.class_at(class_of_[flow]);
    dirty(from.island, now_us);
    now_us = islands_[from.island].at_us;
    bytes -= islands_.sent_by(from);
    if (!std::exchange(from.left, true)) left_.push_back(class_of_[flow]);
    islands_.remove_flow(class_of_[flow]);
  }
  join(flow, bytes, now_us);
}

/// Drops ends until the first one is of a flow of this class.
void FlowClasses::find_next(std::uint32_t number) {
  auto& ends = ends_[number];
  while (!ends.empty() &&
         (class_of_[ends.front().flow] != number || end_sent_[ends.front().flow] != ends.front().sent)) {
    std::pop_heap(ends.begin(), ends.end(), later);
    ends.pop_back();
  }
  FlowClass const& one = islands_.class_at(number);
  if (!ends.empty()) islands_.next_of(one) = ends.front().sent;
}

void FlowClasses::fill(std::uint32_t island) {
  Island& one = islands_[island];
  one.water.fill(one.rate);
  one.end_us.resize(one.classes.size());
  for (std::size_t i = 0; i < one.classes.size(); ++i) {
    double const us = (one.next[i] - one.sent[i]) / one.rate[i];
    one.end_us[i] = one.at_us + (us > 0 ? us : 0);
  }
  one.first_end_us = least_value(one.end_us);
  one.dirty = one.loose = false;
  first_ends_.push({one.first_end_us, island, ++one.version});
}

void FlowClasses::regroup(std::uint32_t island) {
  if (!islands_[island].dirty) return;
  islands_.regroup(island, parts_);
  for (std::uint32_t const part : parts_) fill(part);
}

void FlowClasses::settle(double now_us) {
  find_moved_flows(now_us);
  for (std::uint32_t const flow : moved_) move(flow, now_us);
  moved_.clear();
  for (std::uint32_t const number : left_) {
    islands_.class_at(number).left = false;
    if (islands_.class_at(number).flows > 0) find_next(number);
  }
  left_.clear();
  for (std::size_t i = 0; i < dirty_.size(); ++i) regroup(dirty_[i]);
  dirty_.clear();
}

double FlowClasses::first_end_us() {
  while (!first_ends_.empty() && islands_[first_ends_.top().island].version != first_ends_.top().version)
    first_ends_.pop();
  return first_ends_.empty() ? std::numeric_limits<double>::infinity() : first_ends_.top().us;
}

void FlowClasses::end_flows_of(std::uint32_t number, double closes_us, std::vector<EndedFlow>& ended) {
  FlowClass const& one = islands_.class_at(number);
  Island const& island = islands_[one.island];
  while (one.flows > 0) {
    double const us =
        island.at_us + std::max(0.0, (island.next[one.place] - island.sent[one.place]) / island.rate[one.place]);
    if (us > closes_us) break;
    std::uint32_t const flow = ends_[number].front().flow;
    ended.push_back({flow, us, island.rate[one.place]});
    binding_.remove(flow);
    touch(flow);
    islands_.remove_flow(number);
    class_of_[flow] = kNone;
    --num_active_;
    find_next(number);
  }
}

double FlowClasses::end_first(double window_us, std::vector<EndedFlow>& ended) {
  double const first_us = first_end_us();
  std::uint32_t const island = first_ends_.top().island;
  first_ends_.pop();
  Island const& one = islands_[island];
  for (std::size_t i = 0; i < one.classes.size(); ++i)
    if (one.end_us[i] <= first_us + window_us) end_flows_of(one.classes[i], first_us + window_us, ended);
  double late = 0, rate = 0;
  for (EndedFlow const& end : ended) {
    late += end.rate * (end.us - first_us);
    rate += end.rate;
  }
  double const closes_us = first_us + late / rate;
  dirty(island, closes_us);
  return closes_us;
}

double FlowClasses::bytes_left(std::uint32_t flow, double now_us) const {
  FlowClass const& one = islands_.class_at(class_of_[flow]);
  Island const& island = islands_[one.island];
  double const since_us = std::max(0.0, now_us - island.at_us);
  return std::max(0.0, end_sent_[flow] - island.sent[one.place] - island.rate[one.place] * since_us);
}

}  // namespace switchyard::sim
