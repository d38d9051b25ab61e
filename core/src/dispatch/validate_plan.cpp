// SPDX-License-Identifier: Apache-2.0
// The rules that one rank's plan can be held to without seeing another rank's.
#include <algorithm>

#include "check_gather.hpp"
#include "chunk_order.hpp"
#include "row_sums.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "violation_report.hpp"

namespace switchyard {
namespace {

/// Sizes beyond these cannot come from a planner and would only overflow products below.
constexpr std::int64_t kMaxRanks = std::int64_t{1} << 24;
constexpr std::int64_t kMaxSlots = std::int64_t{1} << 24;
constexpr std::int64_t kMaxTokens = std::int64_t{1} << 48;

class PlanChecker {
 public:
  explicit PlanChecker(DispatchPlan const& plan) : plan_(plan), grid_(plan.setup.grid) {}

  std::vector<DispatchViolation> run() {
    if (!check_setup()) return std::move(report_).take();
    check_counts();
    check_path("stages", plan_.stages, stage_roles(plan_));
    check_path("row_return", plan_.row_return, row_return_roles(plan_));
    return std::move(report_).take();
  }

 private:
  template <typename... Args>
  bool expect(bool holds, DispatchRule rule, fmt::format_string<Args...> text, Args&&... args) {
    return report_.expect(holds, rule, plan_.rank, text, std::forward<Args>(args)...);
  }

  bool counts(char const* name, std::vector<std::int64_t> const& values, std::int64_t length) {
    return expect(static_cast<std::int64_t>(values.size()) == length, DispatchRule::shape_mismatch,
                  "{} has {} entries instead of {}", name, values.size(), length) &&
           check_range(plan_, name, values, 0, INT64_MAX, report_);
  }

  bool check_setup() {
    auto const& setup = plan_.setup;
    bool const grid = grid_.tp >= 1 && grid_.ep >= 1 && std::int64_t{grid_.tp} * grid_.ep <= kMaxRanks;
    return expect(grid, DispatchRule::shape_mismatch, "grid of tp {} x ep {}", grid_.tp, grid_.ep) &&
           expect(plan_.rank.value() >= 0 && plan_.rank.value() < grid_.world(), DispatchRule::index_out_of_range,
                  "rank {} of a world of {}", plan_.rank.value(), grid_.world()) &&
           expect(setup.num_slots >= 0 && setup.num_slots <= kMaxSlots && setup.num_experts >= 0 && setup.layer >= 0,
                  DispatchRule::shape_mismatch, "{} slots, {} experts, layer {}", setup.num_slots, setup.num_experts,
                  setup.layer) &&
           expect(setup.restore == ChunkRestore::inverse || setup.row_order == RowOrder::tp_major,
                  DispatchRule::wrong_order, "{} rows with chunks restored as {} does", to_string(setup.row_order),
                  to_string(setup.restore)) &&
           check_layout() &&
           expect(plan_.num_tokens >= 0 && plan_.num_tokens <= kMaxTokens && plan_.slot_columns >= 0,
                  DispatchRule::shape_mismatch, "{} tokens with {} slot columns", plan_.num_tokens, plan_.slot_columns);
  }

  /// What only some families have.
  bool check_layout() {
    auto const& setup = plan_.setup;
    if (setup.family != DispatchFamily::megatron_alltoall &&
        !expect(setup.restore == ChunkRestore::inverse, DispatchRule::wrong_order, "{} plans restore chunks as {} does",
                to_string(setup.family), to_string(setup.restore)))
      return false;
    if (setup.family != DispatchFamily::megablocks)
      return expect(setup.hidden_shards == 1 && setup.bins == ExpertBins::exact && setup.block_rows == 0,
                    DispatchRule::shape_mismatch, "{} with {} hidden shards and {} bins in blocks of {} rows",
                    to_string(setup.family), setup.hidden_shards, to_string(setup.bins), setup.block_rows);
    return expect(grid_.tp == 1 && setup.row_order == RowOrder::rank_major && setup.hidden_shards >= 1 &&
                      grid_.ep % setup.hidden_shards == 0,
                  DispatchRule::shape_mismatch, "megablocks with {} hidden shards on tp {} x ep {}, {} rows",
                  setup.hidden_shards, grid_.tp, grid_.ep, to_string(setup.row_order)) &&
           expect(setup.bins == ExpertBins::blocks ? setup.block_rows >= 1 : setup.block_rows == 0,
                  DispatchRule::shape_mismatch, "{} bins with blocks of {} rows", to_string(setup.bins),
                  setup.block_rows);
  }

  void check_counts() {
    counts("rows_per_slot", plan_.rows_per_slot, plan_.setup.num_slots);
    counts("tokens_per_local_expert", plan_.tokens_per_local_expert, plan_.num_local_experts());
    std::int64_t const end = std::int64_t{plan_.first_slot} + plan_.num_local_experts();
    expect(plan_.first_slot >= 0 && end <= plan_.setup.num_slots, DispatchRule::index_out_of_range,
           "local experts are slots {} to {} of {}", plan_.first_slot, end - 1, plan_.setup.num_slots);
    if (!plan_.capacity) return;
    expect(plan_.capacity->rows >= 0, DispatchRule::index_out_of_range, "capacity is {}", plan_.capacity->rows);
  }

  /// Every stage in its place, and rows out of every stage the rows into the next one: tokens enter, expert rows leave.
  void check_path(char const* name, std::vector<DispatchStage> const& stages, std::vector<StageRole> const& roles) {
    bool good = stages.size() == roles.size();
    for (std::size_t i = 0; good && i < roles.size(); ++i) good = fits(roles[i], stages[i]);
    if (!expect(good, DispatchRule::wrong_order, "{} has {} stages that are not {}, as {} needs here", name,
                stages.size(), list_of(roles), to_string(plan_.setup.family)) ||
        roles.empty())
      return;
    std::int64_t rows = plan_.num_tokens;
    std::span<std::int64_t const> by_source;
    for (std::size_t i = 0; i < stages.size(); ++i) {
      check_stage(stages[i], {roles[i], rows, by_source});
      std::int64_t const wanted = input_rows(stages[i]);
      expect(wanted == rows, DispatchRule::rows_not_conserved, "{}[{}] takes {} rows but is handed {}", name, i, wanted,
             rows);
      rows = output_rows(stages[i]);
      if (auto const* exchange = std::get_if<RowExchange>(&stages[i])) by_source = exchange->receive_rows;
      if (auto const* gather = std::get_if<GroupGather>(&stages[i])) by_source = gather->receive_rows;
    }
    expect(rows == plan_.num_expert_rows(), DispatchRule::rows_not_conserved,
           "{} hands on {} rows at its end, but tokens_per_local_expert adds up to {}", name, rows,
           plan_.num_expert_rows());
  }

  static std::string list_of(std::vector<StageRole> const& roles) {
    std::string list;
    for (StageRole const role : roles) list += fmt::format("{}{}", list.empty() ? "" : ", ", name_of(role));
    return list.empty() ? "none" : list;
  }

  void check_stage(DispatchStage const& stage, GatherPlace const& place) {
    if (auto const* gather = std::get_if<RowGather>(&stage)) return check_gather(plan_, *gather, place, report_);
    if (auto const* exchange = std::get_if<RowExchange>(&stage)) return check(*exchange, place.role);
    if (auto const* gather = std::get_if<GroupGather>(&stage)) return check(*gather);
    if (auto const* sort = std::get_if<ChunkSort>(&stage)) return check(*sort);
    auto const& repeat = std::get<ShardRepeat>(stage);
    expect(repeat.copies == plan_.setup.hidden_shards && repeat.rows >= 0, DispatchRule::shape_mismatch,
           "{} rows are repeated {} times for {} hidden shards", repeat.rows, repeat.copies, plan_.setup.hidden_shards);
  }

  enum class Peers { lane, tp, all };

  [[nodiscard]] bool is_peer(RankId rank, Peers peers) const {
    if (peers == Peers::lane) return grid_.same_lane(plan_.rank, rank);
    return peers == Peers::all || grid_.same_experts(plan_.rank, rank);
  }

  void check_group(char const* name, std::vector<std::int64_t> const& rows, Peers peers) {
    if (!counts(name, rows, grid_.world())) return;
    for (int peer = 0; peer < grid_.world(); ++peer) {
      if (!expect(is_peer(RankId{peer}, peers) || rows[to_size(peer)] == 0, DispatchRule::outside_group,
                  "{}[{}] is {}, but rank {} is not in this rank's {}", name, peer, rows[to_size(peer)], peer,
                  peers == Peers::lane ? "EP lane" : "TP group"))
        return;
    }
  }

  void check(RowExchange const& exchange, StageRole role) {
    Peers const peers = role == StageRole::lane_exchange ? Peers::lane : Peers::all;
    check_group("send_rows", exchange.send_rows, peers);
    check_group("receive_rows", exchange.receive_rows, peers);
  }

  void check(GroupGather const& gather) {
    check_group("gather receive_rows", gather.receive_rows, gather.group == GatherGroup::tp ? Peers::tp : Peers::all);
    if (static_cast<std::int64_t>(gather.receive_rows.size()) != grid_.world()) return;
    expect(gather.own_rows == gather.receive_rows[plan_.rank.index()], DispatchRule::rows_not_conserved,
           "contributes {} rows to the gather but expects {} of itself", gather.own_rows,
           gather.receive_rows[plan_.rank.index()]);
  }

  void check(ChunkSort const& sort) {
    std::int64_t const local = plan_.num_local_experts();
    bool const shapes = counts("chunk sizes", sort.sizes, grid_.world() * local) &&
                        counts("chunk order", sort.order, grid_.world() * local);
    if (!shapes || !check_permutation(sort)) return;
    expect(sort.order == chunk_order(grid_, local, plan_.setup.row_order), DispatchRule::wrong_order,
           "chunk order is not that of {} rows", to_string(plan_.setup.row_order));
    for (std::int64_t expert = 0; expert < local; ++expert) {
      std::int64_t rows = 0;
      for (int source = 0; source < grid_.world(); ++source)
        rows = saturating_add(rows, sort.sizes[to_size(chunk_index(grid_, RankId{source}, expert, local))]);
      expect(rows == plan_.tokens_per_local_expert[to_size(expert)], DispatchRule::rows_not_conserved,
             "chunks of local expert {} add up to {} rows instead of {}", expert, rows,
             plan_.tokens_per_local_expert[to_size(expert)]);
    }
  }

  bool check_permutation(ChunkSort const& sort) {
    auto sorted = sort.order;
    std::sort(sorted.begin(), sorted.end());
    for (std::size_t i = 0; i < sorted.size(); ++i)
      if (!expect(sorted[i] == static_cast<std::int64_t>(i), DispatchRule::not_a_permutation,
                  "chunk order misses or repeats a chunk around {} of {}", i, sorted.size()))
        return false;
    return true;
  }

  DispatchPlan const& plan_;
  ExpertParallelGrid grid_;
  ViolationReport report_;
};

}  // namespace

std::vector<DispatchViolation> validate(DispatchPlan const& plan) {
  return PlanChecker(plan).run();
}

void require_valid(DispatchPlan const& plan) {
  auto const violations = validate(plan);
  SWITCHYARD_REQUIRE(violations.empty(), invalid_plan,
                     "dispatch plan of rank {} breaks {} rules; the first: {}: {}. The plan was altered after it was "
                     "made or belongs to another version",
                     plan.rank.value(), violations.size(), to_string(violations.front().rule), violations.front().text);
}

}  // namespace switchyard
