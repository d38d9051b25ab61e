// SPDX-License-Identifier: Apache-2.0
/// TimelineReport: what a timeline came to, for people, as JSON and as CSV.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "timeline/timeline_inputs.hpp"

namespace switchyard::cli {

struct TimelineReport {
  std::vector<std::string> plans;    ///< file names
  std::vector<std::string> digests;  ///< of each
  sim::Fidelity fidelity{};
  TimingBasis basis{};
  double serial_us = 0;  ///< the same work one after the other
  std::optional<MoveEffect> effect{};
  int traced_ranks = -1;  ///< written to --out; -1 = none asked for
  std::vector<Variation> variations{};
};

[[nodiscard]] std::string to_table(TimelineReport const& report, TimelineRun const& run);
/// @return one JSON object with schema_version, units in its keys.
[[nodiscard]] std::string to_json(TimelineReport const& report, TimelineRun const& run);
/// @return a header and a line per task that ran, in the order of ranks, streams and times, RFC 4180.
[[nodiscard]] std::string to_csv(TimelineRun const& run);

/// @return "2 steps of 58 layers and 2 batches on 16 ranks".
[[nodiscard]] std::string shape_text(TimelineRun const& run);

/// One kind of task over all streams.
struct KindUse {
  sim::TaskKind kind{};
  double mean_us = 0;  ///< per rank
  double max_us = 0;   ///< of the busiest rank
  double path_us = 0;  ///< on the critical path
};
/// @return the kinds that take time, in their order.
[[nodiscard]] std::vector<KindUse> kind_uses(TimelineRun const& run);

}  // namespace switchyard::cli
