// SPDX-License-Identifier: Apache-2.0
#include "max_flow.hpp"

#include <algorithm>

namespace switchyard::placement {

std::size_t MaxFlow::add_edge(std::size_t from, std::size_t to, std::int64_t capacity) {
  std::size_t const edge = capacity_.size();
  capacity_.push_back(capacity);
  edges_of_[from].push_back(2 * edge);
  edges_of_[to].push_back(2 * edge + 1);
  head_.push_back(to);
  head_.push_back(from);
  return edge;
}

void MaxFlow::reset() {
  residual_.assign(2 * capacity_.size(), 0);
  for (std::size_t edge = 0; edge < capacity_.size(); ++edge) {
    residual_[2 * edge] = capacity_[edge];
  }
}

bool MaxFlow::build_levels(std::size_t source, std::size_t sink) {
  level_.assign(edges_of_.size(), -1);
  level_[source] = 0;
  std::vector<std::size_t> queue{source};
  for (std::size_t i = 0; i < queue.size(); ++i) {
    for (std::size_t const arc : edges_of_[queue[i]]) {
      if (residual_[arc] > 0 && level_[head_[arc]] < 0) {
        level_[head_[arc]] = level_[queue[i]] + 1;
        queue.push_back(head_[arc]);
      }
    }
  }
  return level_[sink] >= 0;
}

/// Finds one path that descends level by level and fills it. The walk keeps its own stack, so that the depth of a
/// network cannot exhaust the caller's. @return what it carried, 0 when no path is left.
std::int64_t MaxFlow::push(std::size_t source, std::size_t sink) {
  std::vector<std::size_t> path;
  std::size_t node = source;
  while (node != sink) {
    auto const& arcs = edges_of_[node];
    auto& next = next_[node];
    while (next < arcs.size() && (residual_[arcs[next]] == 0 || level_[head_[arcs[next]]] != level_[node] + 1)) {
      ++next;
    }
    if (next < arcs.size()) {
      path.push_back(arcs[next]);
      node = head_[path.back()];
    } else if (path.empty()) {
      return 0;
    } else {
      node = head_[path.back() ^ 1U];
      path.pop_back();
      ++next_[node];
    }
  }
  std::int64_t amount = kUnlimited;
  for (std::size_t const arc : path) {
    amount = std::min(amount, residual_[arc]);
  }
  for (std::size_t const arc : path) {
    residual_[arc] -= amount;
    residual_[arc ^ 1U] += amount;
  }
  return amount;
}

std::int64_t MaxFlow::run(std::size_t source, std::size_t sink) {
  reset();
  std::int64_t total = 0;
  while (build_levels(source, sink)) {
    next_.assign(edges_of_.size(), 0);
    while (std::int64_t const amount = push(source, sink)) {
      total += amount;
    }
  }
  return total;
}

}  // namespace switchyard::placement
