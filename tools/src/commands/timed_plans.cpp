// SPDX-License-Identifier: Apache-2.0
#include "commands/timed_plans.hpp"

#include <fmt/format.h>

#include "commands/inspect_report.hpp"
#include "commands/recordings_input.hpp"
#include "commands/routing_input.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/io/routing_reader.hpp"
#include "timeline/recorded_calls.hpp"

namespace switchyard::cli {
namespace {

RoutedTokens routed_tokens_of(std::string const& text, std::string const& file, ParsedOptions const& options) {
  if (!options.has("ranks"))
    throw UsageError(
        fmt::format("{} is a routing recording: say with --ranks over how many its tokens are dealt", file));
  int const ranks = options.small_integer("ranks", 1, kMaxRoutingRanks);
  int const layer = options.small_integer("layer", 0, kMaxRoutingExperts);
  int const experts = options.has("experts") ? options.small_integer("experts", 1, kMaxRoutingExperts) : 0;
  RoutingMap const all = io::parse_routing(text, file, layer, experts).routing;
  RoutedTokens routed{deal_tokens(all, ranks), placement_of(options, all.num_experts(), ranks, layer), layer};
  FingerprintBuilder digest;
  digest.add(0, text);
  routed.digest = digest.result().to_hex();
  return routed;
}

/// A plan file's content, refused when it breaks a rule.
TimedPlans sound_plans(std::string const& text, std::string const& file) {
  TimedPlans plans;
  static_cast<PlanFile&>(plans) = plan_file_of(text, file);
  if (!plans.rebalance && !plans.group && ranks_of(plans) > 1)
    throw UsageError(
        fmt::format("{} holds the plan of one rank of {}: give the file with all ranks' plans", file, ranks_of(plans)));
  InspectReport report;
  report.dispatch = plans.dispatch;
  report.rebalance = plans.rebalance;
  report.group = plans.group;
  find_violations(report);
  if (!report.violations.empty())
    throw UsageError(fmt::format("{} breaks {} rule(s), first {}; `switchyard inspect` lists them", file,
                                 report.violations.size(), report.violations.front()));
  return plans;
}

void refuse_routing_options(ParsedOptions const& options, std::string const& file, char const* what) {
  for (char const* name : {"ranks", "experts", "placement", "dedup"})
    if (options.has(name)) throw UsageError(fmt::format("--{} is for routing recordings: {} is {}", name, file, what));
}

TimedPlans plans_of_text(std::string const& text, std::string const& file, ParsedOptions const& options) {
  if (!is_routing_recording(text)) {
    refuse_routing_options(options, file, "a plan");
    return sound_plans(text, file);
  }
  TimedPlans plans;
  plans.routed = routed_tokens_of(text, file, options);
  return plans;
}

}  // namespace

std::string kind_text(TimedPlans const& plans) {
  if (plans.routed) return "routing";
  if (!plans.calls.empty()) return "recording";
  return plans.rebalance ? "rebalance" : "dispatch";
}

int ranks_of(TimedPlans const& plans) {
  if (!plans.calls.empty()) return ranks_of(plans.calls.front());
  if (plans.routed) return static_cast<int>(plans.routed->routings.size());
  if (plans.rebalance) return plans.rebalance->after.num_ranks();
  return plans.dispatch.front().setup.grid.world();
}

std::vector<TimedPlans> read_plans(std::vector<std::string> const& files, ParsedOptions const& options) {
  Recordings recordings;
  std::string all;
  std::vector<TimedPlans> plans;
  for (std::string const& file : files) {
    std::string text = io::read_file(file);
    bool const recording = is_dispatch_recording(text);
    if (plans.empty() && recording) {
      refuse_routing_options(options, file, "the recording of a dispatcher");
      add_recordings(recordings, text, file);
      all += text;
      continue;
    }
    if (recording || !all.empty())
      throw UsageError(fmt::format("{} and {} are not of one kind: recordings are timed without other files", file,
                                   recording ? files.front() : recordings.first_file));
    plans.push_back(plans_of_text(text, file, options));
  }
  if (!all.empty()) plans.push_back(recorded_plans(recordings, all, options));
  return plans;
}

std::vector<std::string> names_of(std::vector<TimedPlans> const& plans, std::vector<std::string> const& files) {
  if (plans.front().calls.empty() || files.size() == 1) return files;
  return {fmt::format("{} and {} more", files.front(), files.size() - 1)};
}

TimedPlans read_plans(std::string const& file, ParsedOptions const& options) {
  return std::move(read_plans(std::vector{file}, options).front());
}

TimedPlans read_rebalance(std::string const& file) {
  TimedPlans plans = sound_plans(io::read_file(file), file);
  if (!plans.rebalance) throw UsageError(fmt::format("{} is the plan of a dispatch: give a rebalance plan", file));
  return plans;
}

std::string digest_text(TimedPlans const& plans) {
  if (plans.routed) return plans.routed->digest;
  if (!plans.calls.empty()) return plans.digest;
  return (plans.rebalance ? plans.rebalance->fingerprint() : digest_of(plans.dispatch)).to_hex();
}

}  // namespace switchyard::cli
