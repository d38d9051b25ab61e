// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/rehearsal.hpp"

#include <algorithm>
#include <variant>

#include "switchyard/cpu/internal/tagged_weights.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/cpu/schedule_executor.hpp"
#include "switchyard/io/plan_json.hpp"

namespace switchyard::cpu {
namespace {

/// What one rank found; written by that rank only.
struct RankRehearsal {
  RebalanceResult result{};
  TaggedWeights::Checked checked{};
  std::optional<RehearsalMismatch> mismatch{};
};

RebalanceResult carry_out(RebalancePlan const& plan, Communicator& comm, RegisteredWeights const& weights,
                          RebalanceOptions const& options) {
  return RebalanceExecutor(plan, options).execute(comm, weights);
}

RebalanceResult carry_out(RebalanceSchedule const& schedule, Communicator& comm, RegisteredWeights const& weights,
                          RebalanceOptions const& options) {
  return ScheduleExecutor(schedule, options).execute(comm, weights);
}

template <typename Plan>
RankRehearsal rehearse_rank(Plan const& plan, Communicator& comm, RehearsalOptions const& options) {
  TaggedWeights const memory(plan.before, comm.rank(), options.tensor_row_bytes);
  RankRehearsal found;
  found.result = carry_out(plan, comm, memory.weights(), {.mode = options.mode, .verify_rows = options.verify_rows});
  found.mismatch = memory.first_mismatch(plan.after, found.checked);
  return found;
}

RehearsalReport merge(std::vector<RankRehearsal> const& ranks) {
  RehearsalReport report;
  report.num_ranks = static_cast<int>(ranks.size());
  for (RankRehearsal const& rank : ranks) {
    if (!report.first_mismatch) report.first_mismatch = rank.mismatch;
    report.rows_checked += rank.checked.rows;
    report.bytes_checked += rank.checked.bytes;
    report.rows_untouched += rank.checked.untouched_rows;
    report.bytes_sent += rank.result.bytes_sent;
    report.bytes_received += rank.result.bytes_received;
    report.bytes_copied += rank.result.bytes_copied;
    report.peak_staging_bytes = std::max(report.peak_staging_bytes, rank.result.peak_staging_bytes);
  }
  return report;
}

std::unique_ptr<Scheduler> make_scheduler(RehearsalOptions const& options) {
  return options.scheduler == SchedulerKind::threads ? make_thread_scheduler()
                                                     : make_cooperative_scheduler(options.seed);
}

}  // namespace

RehearsalReport rehearse(std::string_view plan_json, std::string const& source_name, RehearsalOptions const& options) {
  // Rank 0 takes the copy that had to be read to learn how many ranks there are.
  auto const first = io::rebalance_from_json(plan_json, source_name);
  int const num_ranks = std::visit([](auto const& plan) { return plan.before.num_ranks(); }, first);
  std::vector<RankRehearsal> ranks(static_cast<std::size_t>(num_ranks));
  auto const scheduler = make_scheduler(options);
  run_ranks(*scheduler, num_ranks, {}, [&](Communicator& comm) {
    auto const run = [&](auto const& plan) { ranks[comm.rank().index()] = rehearse_rank(plan, comm, options); };
    comm.rank().value() == 0 ? std::visit(run, first)
                             : std::visit(run, io::rebalance_from_json(plan_json, source_name));
  });
  return merge(ranks);
}

}  // namespace switchyard::cpu
