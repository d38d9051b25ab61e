// SPDX-License-Identifier: Apache-2.0
#include "senders.hpp"

#include <algorithm>
#include <limits>
#include <unordered_map>

namespace switchyard::placement {

namespace {

std::int64_t cap_of(std::optional<std::int64_t> const& limit) {
  return limit.value_or(std::numeric_limits<std::int64_t>::max());
}

/// Sends so far, and who may still send.
class SendBook {
 public:
  SendBook(Cluster const& cluster, MoveLimits const& limits)
      : cluster_(cluster),
        max_sends_(cap_of(limits.max_sends_per_rank)),
        max_on_link_(cap_of(limits.max_moves_per_link)),
        sends_(cluster.num_ranks(), 0) {}

  /// @return the sender, kNone when nobody may.
  std::size_t take(std::vector<std::size_t> const& homes, std::size_t to) {
    std::size_t best = kNone;
    for (std::size_t const from : homes) {
      if (sends_[from] < max_sends_ && on_link(from, to) < max_on_link_ &&
          (best == kNone || is_better(from, best, to))) {
        best = from;
      }
    }
    if (best != kNone) {
      ++sends_[best];
      ++links_[best * cluster_.num_ranks() + to];
    }
    return best;
  }

 private:
  [[nodiscard]] std::int64_t on_link(std::size_t from, std::size_t to) const {
    auto const found = links_.find(from * cluster_.num_ranks() + to);
    return found == links_.end() ? 0 : found->second;
  }
  [[nodiscard]] bool is_better(std::size_t a, std::size_t b, std::size_t to) const {
    bool const a_is_near = cluster_.node_of_rank[a] == cluster_.node_of_rank[to];
    bool const b_is_near = cluster_.node_of_rank[b] == cluster_.node_of_rank[to];
    return a_is_near != b_is_near ? a_is_near : sends_[a] < sends_[b];
  }

  Cluster const& cluster_;
  std::int64_t max_sends_;
  std::int64_t max_on_link_;
  std::vector<std::int64_t> sends_;
  std::unordered_map<std::size_t, std::int64_t> links_{};  // looked up only, never walked
};

}  // namespace

std::optional<std::vector<Fetch>> choose_senders(LayerState const& state, FetchCount const& fetches,
                                                 MoveLimits const& limits) {
  SendBook book(state.cluster(), limits);
  std::vector<Fetch> chosen;
  for (auto const& [to, expert] : fetches.list(state)) {
    auto const& homes = fetches.homes(expert);
    std::size_t const from = book.take(homes, to);
    bool const within_receives = fetches.of_rank(to) <= cap_of(limits.max_receives_per_rank);
    if ((from == kNone && !homes.empty()) || !within_receives) {
      return std::nullopt;
    }
    chosen.push_back({expert, from, to});
  }
  return chosen;
}

double transfer_seconds(Cluster const& cluster, std::vector<Fetch> const& fetches, TransferCosts const& costs) {
  // Bytes in and out over the node's links, then in and out over the network.
  std::vector<std::int64_t> rows(4 * cluster.num_ranks(), 0);
  for (auto const& fetch : fetches) {
    if (fetch.from != kNone) {
      std::size_t const link = cluster.node_of_rank[fetch.from] == cluster.node_of_rank[fetch.to] ? 0 : 2;
      ++rows[4 * fetch.to + link];
      ++rows[4 * fetch.from + link + 1];
    }
  }
  double slowest = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    double const speed = i % 4 < 2 ? costs.local_bytes_per_second : costs.network_bytes_per_second;
    double const bytes = static_cast<double>(rows[i]) * static_cast<double>(costs.expert_bytes);
    slowest = std::max(slowest, speed > 0 ? bytes / speed : 0);
  }
  return slowest;
}

}  // namespace switchyard::placement
