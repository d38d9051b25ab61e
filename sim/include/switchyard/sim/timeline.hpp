// SPDX-License-Identifier: Apache-2.0
/// Timeline: when every task of a graph runs on a cluster, and which links are busy meanwhile.
#pragma once

#include <vector>

#include "switchyard/sim/network_model.hpp"
#include "switchyard/sim/task_graph.hpp"

namespace switchyard::sim {

struct TaskTime {
  double start_us = -1;  ///< -1: never started (a background move whose turn did not come)
  double end_us = -1;
  [[nodiscard]] bool ran() const noexcept { return end_us >= 0; }
};

/// An exchange keeps links of a class busy from its first departure to its last arrival there.
struct LinkSpan {
  ExchangeId exchange{};
  LinkClass link_class{};
  double start_us = 0;
  double end_us = 0;
  std::int64_t bytes = 0;  ///< over all links of the class
};

struct Timeline {
  std::vector<TaskTime> tasks{};  ///< [tasks of the graph]
  std::vector<TaskId> cause{};    ///< [tasks] the task whose end let this one start; -1 for one that starts at 0
  std::vector<TaskId> sender{};   ///< [tasks] for a part of an exchange: the part that it waited for longest
  std::vector<LinkSpan> links{};  ///< ascending by class, then start, then exchange
  double makespan_us = 0;
  int moves_committed = 0;          ///< of the background
  std::vector<int> committed_at{};  ///< [moves committed] the poll that did it
  /// t1: how far the makespan may be from the one without merging: two windows per exchange, which are `merge_fraction`
  /// of its own bound. Not a theorem: a property test holds it against unmerged runs.
  double merge_error_us = 0;
};

/// Runs every stream in order. Exchanges that are under way together share links as the model says: t1 and t2 see all
/// flows, whoever sends them; t0 gives every rank's part its own lower bound, as if it were alone. Work of a rank slows
/// down by the SM shares of the exchanges that run beside it there.
/// Same graph, same bits: nothing runs in parallel and equal times go by task number.
/// @throws Error{invalid_argument} for a graph of more ranks than the cluster; as NetworkModel::estimate().
[[nodiscard]] Timeline run_timeline(TaskGraph const& graph, ClusterTopology const& topology, NetworkModel const& model);

}  // namespace switchyard::sim
