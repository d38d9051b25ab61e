// SPDX-License-Identifier: Apache-2.0
#include "network/flow_classes.hpp"

#include <algorithm>
#include <bit>
#include <limits>

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
      water_(paths.capacity),
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
void FlowClasses::find_moved_flows() {
  for (std::uint32_t const link : touched_links_) {
    touched_[link] = 0;
    std::uint8_t const binds = binding_.can_bind(link) ? 1 : 0;
    if (binds == binds_[link]) continue;
    binds_[link] = binds;
    for (std::uint32_t i = first_flow_[link]; i < first_flow_[link + 1]; ++i) {
      std::uint32_t const flow = flows_of_link_[i];
      if (class_of_[flow] == kNone || is_moved_[flow] != 0) continue;
      is_moved_[flow] = 1;
      moved_.push_back(flow);
    }
  }
  touched_links_.clear();
}

std::uint32_t FlowClasses::class_for(std::uint32_t flow) {
  key_.clear();
  for (std::uint32_t const link : paths_.links_of(flow))
    if (binds_[link] != 0) key_.push_back(link);
  double const limit = paths_.limit[flow];
  std::uint64_t hash = std::bit_cast<std::uint64_t>(limit);
  for (std::uint32_t const link : key_) hash = mixed(hash, link + 1);
  auto const fresh = static_cast<std::uint32_t>(classes_.size());
  auto const found = class_table_.find_or_add(hash, fresh, [&](std::uint32_t number) {
    Class const& known = classes_[number];
    return known.limit == limit && known.num_links == key_.size() &&
           std::equal(key_.begin(), key_.end(), class_links_.begin() + known.first_link);
  });
  if (found != fresh) return found;
  Class added;
  added.first_link = static_cast<std::uint32_t>(class_links_.size());
  added.num_links = static_cast<std::uint32_t>(key_.size());
  added.limit = limit;
  classes_.push_back(added);
  ends_.emplace_back();
  class_links_.insert(class_links_.end(), key_.begin(), key_.end());
  return found;
}

void FlowClasses::join(std::uint32_t flow, double bytes) {
  std::uint32_t const number = class_for(flow);
  Class& to = classes_[number];
  if (!to.live) live_.push_back(number);
  to.live = true;
  class_of_[flow] = number;
  end_sent_[flow] = to.sent + bytes;
  ++to.flows;
  if (to.flows == 1 || end_sent_[flow] < to.next) to.next = end_sent_[flow];
  ends_[number].push_back({end_sent_[flow], flow});
  std::push_heap(ends_[number].begin(), ends_[number].end(), later);
}

void FlowClasses::leave(std::uint32_t flow) {
  --classes_[class_of_[flow]].flows;
  class_of_[flow] = kNone;
}

void FlowClasses::move(std::uint32_t flow) {
  is_moved_[flow] = 0;
  double bytes = end_sent_[flow];
  if (class_of_[flow] != kNone) {
    bytes -= classes_[class_of_[flow]].sent;
    classes_[class_of_[flow]].left = true;
    leave(flow);
  }
  join(flow, bytes);
}

/// Drops ends until the first one is of a flow of this class.
void FlowClasses::find_next(std::uint32_t number) {
  auto& ends = ends_[number];
  while (!ends.empty() &&
         (class_of_[ends.front().flow] != number || end_sent_[ends.front().flow] != ends.front().sent)) {
    std::pop_heap(ends.begin(), ends.end(), later);
    ends.pop_back();
  }
  classes_[number].left = false;
  if (!ends.empty()) classes_[number].next = ends.front().sent;
}

void FlowClasses::drop_empty_classes() {
  std::size_t kept = 0;
  for (std::uint32_t const number : live_) {
    Class& one = classes_[number];
    if (one.flows > 0) {
      if (one.left) find_next(number);
      live_[kept++] = number;
      continue;
    }
    one.live = one.left = false;
    one.sent = 0;
    ends_[number].clear();
  }
  live_.resize(kept);
}

void FlowClasses::fill() {
  items_.clear();
  for (std::uint32_t const number : live_) {
    Class const& one = classes_[number];
    items_.push_back({one.first_link, one.num_links, one.flows, one.limit});
  }
  rates_.resize(items_.size());
  water_.fill(items_, class_links_, rates_);
  first_end_us_ = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < live_.size(); ++i) {
    Class& one = classes_[live_[i]];
    one.rate = rates_[i];
    first_end_us_ = std::min(first_end_us_, std::max(0.0, (one.next - one.sent) / one.rate));
  }
}

void FlowClasses::settle() {
  find_moved_flows();
  for (std::uint32_t const flow : moved_) move(flow);
  moved_.clear();
  drop_empty_classes();
  fill();
}

double FlowClasses::end_within(double us, std::vector<EndedFlow>& ended) {
  double last = 0;
  for (std::uint32_t const number : live_) {
    Class& one = classes_[number];
    while (one.flows > 0) {
      double const end_us = std::max(0.0, (one.next - one.sent) / one.rate);
      if (end_us > us) break;
      std::uint32_t const flow = ends_[number].front().flow;
      last = std::max(last, end_us);
      ended.push_back({flow, end_us, one.rate});
      binding_.remove(flow);
      touch(flow);
      leave(flow);
      --num_active_;
      find_next(number);
    }
  }
  return last;
}

void FlowClasses::advance(double us) {
  for (std::uint32_t const number : live_) classes_[number].sent += classes_[number].rate * us;
}

double FlowClasses::bytes_left(std::uint32_t flow) const {
  return std::max(0.0, end_sent_[flow] - classes_[class_of_[flow]].sent);
}

}  // namespace switchyard::sim
