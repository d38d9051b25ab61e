// SPDX-License-Identifier: Apache-2.0
/// TimelineSummary: what a timeline's streams and links did, and what its length consists of.
#pragma once

#include <array>
#include <vector>

#include "switchyard/sim/timeline.hpp"

namespace switchyard::sim {

struct StreamUse {
  StreamId stream{};
  std::array<double, kNumTaskKinds> busy_us{};  ///< by kind
};
[[nodiscard]] double total_us(StreamUse const& use) noexcept;

/// Time in which at least one link of the class was in use.
struct LinkClassTime {
  LinkClass link_class{};
  double busy_us = 0;
  std::int64_t bytes = 0;
};

/// One piece of the chain of tasks that decides the end; pieces follow each other from 0 to the makespan.
struct PathPiece {
  TaskId task{};
  double start_us = 0;
  double end_us = 0;
};

struct TimelineSummary {
  double makespan_us = 0;
  std::vector<StreamUse> streams{};    ///< [streams]
  std::vector<LinkClassTime> links{};  ///< classes with bytes, ascending
  std::vector<PathPiece> critical_path{};
  std::array<double, kNumTaskKinds> path_us{};  ///< the path by kind; sums up to the makespan
  std::vector<double> exposed_us{};             ///< [ranks] a dispatch, combine or move runs and no work does
  int moves_committed = 0;
  /// [polls] when all tasks added up to the poll have ended, moves of the background aside; does not fall.
  std::vector<double> step_end_us{};
  double merge_error_us = 0;
};

/// @throws Error{shape_mismatch} for the timeline of another graph. Pure; O(tasks log tasks).
[[nodiscard]] TimelineSummary summarize(TaskGraph const& graph, Timeline const& timeline);

/// TimelineSummary::critical_path alone, from the last end back to 0: the end of a part of an exchange was its sender's
/// doing. @throws Error{shape_mismatch} for the timeline of another graph. Pure; O(tasks).
[[nodiscard]] std::vector<PathPiece> critical_path(TaskGraph const& graph, Timeline const& timeline);

/// Merged times in which links of a class are in use, with the exchanges that share them.
struct LinkInterval {
  LinkClass link_class{};
  double start_us = 0;
  double end_us = 0;
  std::vector<ExchangeId> exchanges{};  ///< ascending
};
/// @return intervals that do not overlap within a class, classes and times ascending.
[[nodiscard]] std::vector<LinkInterval> link_intervals(Timeline const& timeline);

}  // namespace switchyard::sim
