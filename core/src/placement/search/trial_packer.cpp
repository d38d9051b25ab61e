// SPDX-License-Identifier: Apache-2.0
#include "trial_packer.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace switchyard::placement {

TrialPacker::TrialPacker(Cluster const& cluster, SlotFigures& figures)
    : cluster_(cluster), figures_(figures), room_(cluster.num_ranks(), 0) {
  for (std::size_t const rank : cluster.live) {
    start_.push_back({cluster.base / cluster.speed[rank], rank});
  }
  std::sort(start_.begin(), start_.end(), [](Entry const& a, Entry const& b) { return a.is_lighter_than(b); });
}

/// A total order, so that merging gives what sorting would.
bool TrialPacker::comes_first(Item const& a, Item const& b) {
  return a.figure > b.figure || (a.figure == b.figure && a.expert < b.expert);
}

TrialPacker::Item TrialPacker::item(std::size_t expert, std::size_t replicas) {
  return {figures_.at(expert, replicas), expert, replicas};
}

double TrialPacker::pack_base(std::vector<std::size_t> const& replicas) {
  base_replicas_ = replicas;
  base_.clear();
  for (std::size_t expert = 0; expert < replicas.size(); ++expert) {
    base_.push_back(item(expert, replicas[expert]));
  }
  std::sort(base_.begin(), base_.end(), comes_first);
  double const value = pack(base_, std::numeric_limits<double>::infinity());
  note_hot_experts();
  return value;
}

double TrialPacker::pack_variant(std::size_t gains, std::size_t gives, double limit) {
  std::array<Item, 2> changed{item(gains, base_replicas_[gains] + 1), item(gives, base_replicas_[gives] - 1)};
  std::sort(changed.begin(), changed.end(), comes_first);
  auto next = changed.begin();
  variant_.clear();
  for (Item const& other : base_) {
    if (other.expert == gains || other.expert == gives) {
      continue;
    }
    while (next != changed.end() && comes_first(*next, other)) {
      variant_.push_back(*next++);
    }
    variant_.push_back(other);
  }
  variant_.insert(variant_.end(), next, changed.end());
  return pack(variant_, limit);
}

double TrialPacker::pack(std::vector<Item> const& items, double limit) {
  heap_ = start_;
  sum_.assign(cluster_.num_ranks(), cluster_.base);
  for (std::size_t const rank : cluster_.live) {
    room_[rank] = cluster_.first_slot[rank + 1] - cluster_.first_slot[rank];
  }
  placed_.clear();
  double largest = start_.back().value;
  for (Item const& item : items) {
    for (std::size_t copy = 0; copy < item.replicas && !heap_.empty(); ++copy) {
      auto& [value, rank] = heap_.front();
      sum_[rank] += item.figure;
      value = sum_[rank] / cluster_.speed[rank];
      placed_.push_back({rank, item.expert});
      largest = std::max(largest, value);
      if (largest >= limit) {
        return std::numeric_limits<double>::infinity();
      }
      sink_top();
    }
  }
  return largest;
}

/// Takes a slot of the top rank, which has become heavier, and restores the heap.
void TrialPacker::sink_top() {
  if (--room_[heap_.front().rank] == 0) {
    heap_.front() = heap_.back();
    heap_.pop_back();
  }
  if (heap_.empty()) {
    return;
  }
  Entry const moving = heap_.front();
  std::size_t hole = 0;
  for (std::size_t child = 1; child < heap_.size(); child = 2 * hole + 1) {
    child += child + 1 < heap_.size() && heap_[child + 1].is_lighter_than(heap_[child]) ? 1U : 0U;
    if (!heap_[child].is_lighter_than(moving)) {
      break;
    }
    heap_[hole] = heap_[child];
    hole = child;
  }
  heap_[hole] = moving;
}

void TrialPacker::note_hot_experts() {
  std::size_t hottest = cluster_.live.front();
  for (std::size_t const rank : cluster_.live) {
    if (sum_[rank] / cluster_.speed[rank] > sum_[hottest] / cluster_.speed[hottest]) {
      hottest = rank;
    }
  }
  hot_experts_.clear();
  for (Placed const& placed : placed_) {
    if (placed.rank == hottest) {
      hot_experts_.push_back(placed.expert);
    }
  }
}

}  // namespace switchyard::placement
