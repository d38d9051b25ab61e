// SPDX-License-Identifier: Apache-2.0
/// MoeTimeline: the graph of MoE layers on streams, with what may run beside what.
#pragma once

#include <vector>

#include "switchyard/dispatch/shared_expert.hpp"
#include "switchyard/sim/plan_traffic.hpp"
#include "switchyard/sim/task_graph.hpp"

namespace switchyard::sim {

/// One micro-batch in one layer: phases of a dispatch, what the ranks' experts take, phases of the combine.
struct BatchWork {
  std::vector<TrafficPhase> dispatch{};
  std::vector<double> experts_us{};  ///< [ranks]
  std::vector<TrafficPhase> combine{};
  std::vector<double> experts_sm_bound{};  ///< [ranks] part of it that grows as SMs are taken; empty: all of it
};

/// One layer of a rebalance: its transfers and what a rank's commit takes.
struct LayerMove {
  std::string name{};
  std::vector<Flow> flows{};
  std::vector<double> commit_us{};  ///< [ranks]
  int layer = -1;                   ///< of the timeline, whose batches follow the new map once it is committed
};

/// What a batch does in its layer, as numbers of works: until the layer's move is committed, and in the steps after
/// that (-1: the same).
struct WorkChoice {
  int work = 0;
  int after_move = -1;
};

struct MoeTimelineSpec {
  int ranks = 1;
  int steps = 1;  ///< forward passes over all layers
  int layers = 1;
  int batches = 1;                 ///< micro-batches that go through every layer
  std::vector<BatchWork> works{};  ///< empty when there are moves only
  /// [any number of steps, used in turn][layers][batches] which of the works; empty: all in turn over (layer, batch),
  /// batches first, every step alike.
  std::vector<WorkChoice> choices{};
  double attention_us = 0;      ///< per layer and batch, before the dispatch
  double shared_expert_us = 0;  ///< per layer and batch; two thirds are fc1 (gate and up), one third fc2
  /// When the shared expert's stages start; as problems_in() wants it. Its exchanges over TP are not timed.
  std::vector<OverlapPoint> shared_schedule{};
  double sm_share = 0;  ///< of a GPU that a dispatch or combine takes from the work beside it
  double migration_sm_share = 0;
  std::vector<LayerMove> moves{};
  /// false: one stream per rank; batches, layers and moves follow each other. true: dispatch and combine have a stream
  /// of their own beside the work, and so have moves; batches alternate stage by stage; a poll follows every step.
  bool overlap = true;
  /// Every stage of a batch begins when the stage before has ended on all ranks, as phases of a PlanCost do.
  bool barriers = false;
};

/// @return the graph. Streams per rank with overlap: "compute", "communication" and, with moves, "migration".
/// @throws Error{invalid_argument} for sizes below 1, times that are negative or not finite, lists that are not as long
///         as there are ranks, choices that are no whole steps or name other works, works of one batch with different
///         numbers of phases, an unsound shared schedule, or more than 2^27 tasks; as TaskGraph.
[[nodiscard]] TaskGraph moe_task_graph(MoeTimelineSpec const& spec);

}  // namespace switchyard::sim
