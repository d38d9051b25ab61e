// SPDX-License-Identifier: Apache-2.0
// switchyard replay: carries a dumped group of dispatch plans out on emulated ranks, with rows that say where they
// come from, and prints the digest of what arrived.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <nlohmann/json.hpp>

#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/dispatch/row_tags.hpp"
#include "switchyard/io/dispatch_group_jsonl.hpp"
#include "switchyard/io/dispatch_plan_json.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cli {
namespace {

constexpr std::int64_t kDigit = 4096;  // small enough that weighted sums stay exact in fp32
constexpr std::int64_t kColumns = 6;   // two digits of the rank, three of the token, a one
constexpr float kPoison = -12345.0F;
constexpr std::int64_t kWeights = 3;  // weights are 1, 2, 3 by slot
constexpr std::int64_t kLargestSum = 4096;

/// What one rank ends with.
struct RankReplay {
  std::int64_t tokens = 0;
  std::int64_t rows = 0;
  Fingerprint digest{};
  std::string problem{};  ///< empty when every row and sum is right
};

struct ReplayReport {
  std::string file;
  std::vector<RankReplay> ranks;
  bool sums_checked = true;
  std::string problem{};  ///< of the group or the run
  Fingerprint digest{};

  [[nodiscard]] bool good() const {
    return problem.empty() &&
           std::all_of(ranks.begin(), ranks.end(), [](RankReplay const& rank) { return rank.problem.empty(); });
  }
};

/// What the sources and bins say about one rank.
struct ExpectedRank {
  std::vector<RowTag> tags;    ///< [expert rows]
  std::vector<float> factors;  ///< [tokens] what the combine multiplies a token's columns by
};

float column_of(RowTag tag, std::int64_t column) {
  if (!tag.source.valid()) return 0;  // an empty row of a bin
  std::int64_t const digits[] = {tag.source.value() / kDigit, tag.source.value() % kDigit, tag.token / kDigit / kDigit,
                                 tag.token / kDigit % kDigit, tag.token % kDigit,          1};
  return static_cast<float>(digits[column]);
}

std::vector<float> tagged_rows(std::vector<RowTag> const& tags) {
  std::vector<float> rows;
  for (RowTag const& tag : tags)
    for (std::int64_t column = 0; column < kColumns; ++column) rows.push_back(column_of(tag, column));
  return rows;
}

std::vector<RowTag> own_tags(DispatchPlan const& plan) {
  std::vector<RowTag> tags;
  for (std::int64_t token = 0; token < plan.num_tokens; ++token) tags.push_back({plan.rank, token});
  return tags;
}

float weight_of(std::int64_t slot) {
  return static_cast<float>(1 + slot % kWeights);
}

/// What every token's columns are multiplied by on the way: the weights of its rows that found a place in a bin, once
/// per TP rank and hidden shard. Experts return their rows.
std::vector<float> factors_of(std::vector<DispatchPlan> const& plans, DispatchPlan const& plan) {
  std::vector<float> factors(static_cast<std::size_t>(plan.num_tokens), 0.0F);
  auto const& gather = std::get<RowGather>(return_path(plan).front());
  auto const partials = static_cast<float>(plan.setup.grid.tp * plan.setup.hidden_shards);
  bool const binned_at_source = plan.stages.size() == 1 && plan.setup.bins != ExpertBins::exact;
  auto const& blocks = binned_at_source ? plan.tokens_per_local_expert : plan.rows_per_slot;
  auto const kept = rows_in_bins(plans, plan.rank);
  std::size_t row = 0;
  for (std::size_t slot = 0; slot < blocks.size(); row += static_cast<std::size_t>(blocks[slot]), ++slot)
    for (std::size_t i = row; i < row + static_cast<std::size_t>(kept[slot]); ++i)
      factors[static_cast<std::size_t>(gather.token_of_row[i])] += weight_of(gather.slot_of_row[i]) * partials;
  for (std::size_t token = 0; token < factors.size(); ++token) {
    if (factors[token] > static_cast<float>(kLargestSum))
      throw UsageError(
          fmt::format("token {} of rank {} is added from so many rows that fp32 sums would round: replay "
                      "a plan with fewer choices per token",
                      token, plan.rank.value()));
  }
  return factors;
}

/// The first difference as text.
std::string compare(char const* what, std::vector<float> const& got, std::vector<float> const& expected) {
  for (std::size_t i = 0; i < got.size(); ++i) {
    if (got[i] == expected[i]) continue;
    return fmt::format("{} {}, column {}: expected {}, got {}", what, i / static_cast<std::size_t>(kColumns),
                       i % static_cast<std::size_t>(kColumns), expected[i], got[i]);
  }
  return {};
}

Fingerprint digest_rows(std::vector<float> const& rows, std::vector<float> const& combined) {
  FingerprintBuilder builder;
  for (std::size_t i = 0; i < rows.size(); ++i) builder.add_at(1, i, std::bit_cast<std::int32_t>(rows[i]));
  for (std::size_t i = 0; i < combined.size(); ++i) builder.add_at(2, i, std::bit_cast<std::int32_t>(combined[i]));
  return builder.result();
}

/// One rank, which parses its own plan and reaches the others through `comm` only.
RankReplay replay_rank(Communicator& comm, std::string_view line, ExpectedRank const& expected, bool check_sums) {
  DispatchPlan const plan = io::dispatch_plan_from_json(line, fmt::format("plan of rank {}", comm.rank().value()));
  std::vector<float> const tokens = tagged_rows(own_tags(plan));
  std::vector<float> rows(static_cast<std::size_t>(plan.num_expert_rows() * kColumns), kPoison);
  std::vector<float> combined(tokens.size(), kPoison);
  std::vector<float> weights(static_cast<std::size_t>(checked_mul(plan.num_tokens, plan.slot_columns)));
  for (std::size_t i = 0; i < weights.size(); ++i)
    weights[i] = weight_of(static_cast<std::int64_t>(i) % plan.slot_columns);

  cpu::CpuExecutor executor(comm);
  auto const row_view = TensorView::matrix(std::span<float>(rows), plan.num_expert_rows(), kColumns);
  executor.dispatch(plan, ConstTensorView::matrix(std::span<float const>(tokens), plan.num_tokens, kColumns), row_view);
  executor.combine(plan, CombineRecipe::source_slot_order(), row_view, weights,
                   TensorView::matrix(std::span<float>(combined), plan.num_tokens, kColumns));

  RankReplay result{plan.num_tokens, plan.num_expert_rows(), digest_rows(rows, combined), {}};
  result.problem = compare("row", rows, tagged_rows(expected.tags));
  if (!result.problem.empty() || !check_sums) return result;
  std::vector<float> sums = tokens;
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] *= expected.factors[i / static_cast<std::size_t>(kColumns)];
  result.problem = compare("combined token", combined, sums);
  return result;
}

void run_group(ReplayReport& report, std::vector<std::string_view> const& lines, std::vector<DispatchPlan> const& plans,
               cpu::Scheduler& scheduler) {
  std::vector<ExpectedRank> expected;
  for (DispatchPlan const& plan : plans)
    expected.push_back({expected_row_tags(plans, plan.rank), factors_of(plans, plan)});
  report.sums_checked = plans.front().setup.restore == ChunkRestore::inverse;
  report.ranks.resize(plans.size());
  cpu::run_ranks(scheduler, static_cast<int>(plans.size()), {}, [&](Communicator& comm) {
    auto const rank = comm.rank().index();
    report.ranks[rank] = replay_rank(comm, lines[rank], expected[rank], report.sums_checked);
  });
  FingerprintBuilder builder;
  for (std::size_t rank = 0; rank < report.ranks.size(); ++rank)
    builder.add_at(1, rank, static_cast<std::int64_t>(report.ranks[rank].digest.value));
  report.digest = builder.result();
}

/// A file that is no plan is bad input; plans that were altered, break a rule or end a run early are found wrong.
ReplayReport replay_file(std::string const& file, cpu::Scheduler& scheduler) {
  ReplayReport report;
  report.file = file;
  std::string const text = io::read_file(file);
  auto const lines = io::plan_lines(text);
  if (lines.empty()) throw UsageError(fmt::format("{} holds no plan: give a group, one plan per line", file));
  try {
    auto const plans = io::dispatch_group_from_jsonl(text, file);
    auto const violations = validate_group(plans);
    if (violations.empty()) {
      run_group(report, lines, plans, scheduler);
    } else {
      report.problem = fmt::format("{} violation(s), first {}: {}", violations.size(),
                                   to_string(violations.front().rule), violations.front().text);
    }
  } catch (Error const& error) {
    if (error.code() != ErrorCode::invalid_plan && error.code() != ErrorCode::split_mismatch &&
        error.code() != ErrorCode::desync)
      throw;
    report.problem = error.message();
  }
  return report;
}

std::string to_table(ReplayReport const& report) {
  std::string text;
  TextTable table({"rank", "tokens", "expert rows", "digest", "result"});
  for (std::size_t rank = 0; rank < report.ranks.size(); ++rank) {
    auto const& one = report.ranks[rank];
    table.add_row({fmt::format("{}", rank), grouped(one.tokens), grouped(one.rows), one.digest.to_hex(),
                   one.problem.empty() ? "ok" : "WRONG: " + one.problem});
  }
  if (!report.ranks.empty()) text += table.str() + "\n";
  if (!report.sums_checked) text += "sums       not checked: the plans restore chunks as megatron_seed does\n";
  if (!report.problem.empty()) text += fmt::format("WRONG      {}\n", report.problem);
  if (!report.ranks.empty()) text += fmt::format("digest     {}\n", report.digest.to_hex());
  return text + fmt::format("{}: {}\n", report.file, report.good() ? "ok" : "WRONG");
}

std::string to_json(ReplayReport const& report) {
  nlohmann::ordered_json ranks = nlohmann::ordered_json::array();
  for (RankReplay const& one : report.ranks)
    ranks.push_back(
        {{"tokens", one.tokens}, {"expert_rows", one.rows}, {"digest", one.digest.to_hex()}, {"problem", one.problem}});
  nlohmann::ordered_json const root{{"schema_version", 1},
                                    {"file", report.file},
                                    {"ok", report.good()},
                                    {"digest", report.ranks.empty() ? "" : report.digest.to_hex()},
                                    {"sums_checked", report.sums_checked},
                                    {"problem", report.problem},
                                    {"ranks", ranks}};
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

ExitCode run_replay(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  bool const threads = options.choice("scheduler", {"cooperative", "threads"}) == "threads";
  auto const seed = static_cast<std::uint64_t>(options.integer("seed", 0, INT64_MAX));
  auto const scheduler = threads ? cpu::make_thread_scheduler() : cpu::make_cooperative_scheduler(seed);
  ReplayReport const report = replay_file(options.text("GROUP"), *scheduler);
  fmt::print("{}", json ? to_json(report) : to_table(report));
  return report.good() ? ExitCode::ok : ExitCode::found_wrong;
}

}  // namespace

Command replay_command() {
  return {
      "replay",
      "carries dumped dispatch plans out on emulated ranks",
      "Every emulated rank parses its own line of a group file, dispatches rows that hold their rank and token, and\n"
      "combines them. Arrivals are compared with what the sources' permutations say, sums with integers. The digest\n"
      "covers every bit that arrived: it is the same on every machine and for every scheduler.\n",
      {{"GROUP", OptionKind::positional, "GROUP", "", "dispatch plans, one per line, rank ascending"},
       {"scheduler", OptionKind::optional, "cooperative|threads", "cooperative",
        "all ranks on one thread in a drawn order, or one thread each"},
       {"seed", OptionKind::optional, "N", "0", "order of the cooperative ranks; 0 is rank order"},
       format_option()},
      {"switchyard replay group.jsonl", "switchyard replay group.jsonl --scheduler threads --format json"},
      run_replay};
}

}  // namespace switchyard::cli
