// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/rehearsal.hpp"

#include <algorithm>

#include "switchyard/cpu/internal/tagged_weights.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/io/plan_json.hpp"

namespace switchyard::cpu {
namespace {

/// What one rank found; written by that rank only.
struct RankRehearsal {
  RebalanceResult result{};
  TaggedWeights::Checked checked{};
  std::optional<RehearsalMismatch> mismatch{};
};

RankRehearsal rehearse_rank(Communicator& comm, std::string_view plan_json, std::string const& source_name,
                            RehearsalOptions const& options) {
  RebalancePlan const plan = io::rebalance_plan_from_json(plan_json, source_name);
  TaggedWeights const memory(plan.before, comm.rank(), options.tensor_row_bytes);
  RebalanceExecutor executor(plan, {.mode = options.mode, .verify_rows = options.verify_rows});
  RankRehearsal found;
  found.result = executor.execute(comm, memory.weights());
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
  int const num_ranks = io::rebalance_plan_from_json(plan_json, source_name).before.num_ranks();
  std::vector<RankRehearsal> ranks(static_cast<std::size_t>(num_ranks));
  auto const scheduler = make_scheduler(options);
  run_ranks(*scheduler, num_ranks, {}, [&](Communicator& comm) {
    ranks[comm.rank().index()] = rehearse_rank(comm, plan_json, source_name, options);
  });
  return merge(ranks);
}

}  // namespace switchyard::cpu
