// SPDX-License-Identifier: Apache-2.0
/// TimedPlans: what a command that times plans was given, told apart by content.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "cli/options.hpp"
#include "commands/plan_file.hpp"
#include "switchyard/dispatch/recording.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard::cli {

/// The routing of all ranks and where experts lie, without a plan.
struct RoutedTokens {
  std::vector<RoutingMap> routings{};
  ExpertPlacement placement;
  int layer = 0;
  std::string digest{};
};

/// How the calls of a recording follow each other: batches first, then layers, then steps.
struct CallShape {
  int steps = 1, layers = 1, batches = 1;
};

/// What is timed: a plan file's content, a routing recording's, or the calls that a dispatcher recorded.
struct TimedPlans : PlanFile {
  std::optional<RoutedTokens> routed{};
  std::vector<TimedPlans> calls{};            ///< of a recording, each with its plans; nothing else is filled then
  CallShape shape{};                          ///< of the calls
  std::string call_name{};                    ///< of one call: "step 0 layer 3"
  std::string digest{};                       ///< of a recording's text
  std::vector<DispatchRecording> recorded{};  ///< of one call, ranks ascending, without what was compared
};

/// @throws UsageError for one rank's plan of many, a plan that breaks a rule, a routing without --ranks, or a recording
/// whose calls are no whole steps or whose counts are not those of its routing.
[[nodiscard]] TimedPlans read_plans(std::string const& file, ParsedOptions const& options);
/// The same for several files; dispatch recordings of several files are one.
[[nodiscard]] std::vector<TimedPlans> read_plans(std::vector<std::string> const& files, ParsedOptions const& options);
/// @return "rank0.jsonl and 3 more" for files that are one recording, the names themselves otherwise.
[[nodiscard]] std::vector<std::string> names_of(std::vector<TimedPlans> const& plans,
                                                std::vector<std::string> const& files);
/// @throws UsageError for anything but a rebalance plan that keeps all rules.
[[nodiscard]] TimedPlans read_rebalance(std::string const& file);
/// @return "dispatch", "rebalance", "routing" or "recording".
[[nodiscard]] std::string kind_text(TimedPlans const& plans);
[[nodiscard]] int ranks_of(TimedPlans const& plans);
[[nodiscard]] std::string digest_text(TimedPlans const& plans);

}  // namespace switchyard::cli
