// SPDX-License-Identifier: Apache-2.0
// The rules that one rank's plan can be held to without seeing another rank's.
#include <algorithm>

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
    check_stage_kinds();
    for (auto const& stage : plan_.stages) std::visit([this](auto const& value) { check(value); }, stage);
    check_row_chain();
    return std::move(report_).take();
  }

 private:
  template <typename... Args>
  bool expect(bool holds, DispatchRule rule, fmt::format_string<Args...> text, Args&&... args) {
    return report_.expect(holds, rule, plan_.rank, text, std::forward<Args>(args)...);
  }

  /// Every entry in [0, limit).
  bool in_range(char const* name, std::vector<std::int64_t> const& values, std::int64_t limit) {
    auto const bad = std::find_if(values.begin(), values.end(), [&](std::int64_t v) { return v < 0 || v >= limit; });
    return bad == values.end() || expect(false, DispatchRule::index_out_of_range, "{}[{}] is {}: valid are 0 to {}",
                                         name, bad - values.begin(), *bad, limit - 1);
  }

  bool counts(char const* name, std::vector<std::int64_t> const& values, std::int64_t length) {
    return expect(static_cast<std::int64_t>(values.size()) == length, DispatchRule::shape_mismatch,
                  "{} has {} entries instead of {}", name, values.size(), length) &&
           in_range(name, values, INT64_MAX);
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
           expect(plan_.num_tokens >= 0 && plan_.num_tokens <= kMaxTokens && plan_.slot_columns >= 0,
                  DispatchRule::shape_mismatch, "{} tokens with {} slot columns", plan_.num_tokens, plan_.slot_columns);
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

  /// Megatron's composition: permute, exchange when ep > 1, gather when tp > 1, sort when needed; each once.
  void check_stage_kinds() {
    std::vector<std::size_t> expected{0};
    if (grid_.ep > 1) expected.push_back(1);
    if (grid_.tp > 1) expected.push_back(2);
    if (needs_sort(grid_, plan_.num_local_experts(), plan_.setup.row_order)) expected.push_back(3);
    std::vector<std::size_t> kinds;
    for (auto const& stage : plan_.stages) kinds.push_back(stage.index());
    expect(kinds == expected, DispatchRule::wrong_order,
           "{} stages that are not permute{}{}{} as {} on tp {} x ep {} with {} local experts needs", kinds.size(),
           grid_.ep > 1 ? ", exchange" : "", grid_.tp > 1 ? ", TP gather" : "",
           expected.back() == 3 ? ", chunk sort" : "", to_string(plan_.setup.family), grid_.tp, grid_.ep,
           plan_.num_local_experts());
  }

  void check(RowGather const& gather) {
    auto const rows = static_cast<std::int64_t>(gather.token_of_row.size());
    bool shapes = counts("slot_of_row", gather.slot_of_row, rows);
    shapes = counts("rows_of_token", gather.rows_of_token, rows) && shapes;
    shapes = counts("row_begin", gather.row_begin, plan_.num_tokens + 1) && shapes;
    if (!shapes) return;
    bool ranges = in_range("token_of_row", gather.token_of_row, plan_.num_tokens);
    ranges = in_range("slot_of_row", gather.slot_of_row, plan_.slot_columns) && ranges;
    ranges = in_range("rows_of_token", gather.rows_of_token, rows) && ranges;
    bool const offsets = gather.row_begin.front() == 0 && gather.row_begin.back() == rows &&
                         std::is_sorted(gather.row_begin.begin(), gather.row_begin.end());
    expect(offsets, DispatchRule::shape_mismatch, "row_begin does not rise from 0 to {}", rows);
    if (ranges && offsets) check_inverse(gather);
    expect(sum_rows(plan_.rows_per_slot) == rows, DispatchRule::rows_not_conserved,
           "rows_per_slot adds up to {} but {} rows are gathered", sum_rows(plan_.rows_per_slot), rows);
  }

  /// Slots that rise strictly inside a token make its rows distinct, so with equal totals this is a bijection.
  void check_inverse(RowGather const& gather) {
    for (std::int64_t token = 0; token < plan_.num_tokens; ++token) {
      std::int64_t last_slot = -1;
      for (auto i = gather.row_begin[to_size(token)]; i < gather.row_begin[to_size(token) + 1]; ++i) {
        auto const row = to_size(gather.rows_of_token[to_size(i)]);
        std::int64_t const slot = gather.slot_of_row[row];
        if (!expect(gather.token_of_row[row] == token && slot > last_slot, DispatchRule::not_inverse,
                    "token {} lists row {}, which is of token {}, slot {} (after slot {})", token, row,
                    gather.token_of_row[row], slot, last_slot))
          return;
        last_slot = slot;
      }
    }
  }

  void check_group(char const* name, std::vector<std::int64_t> const& rows, bool lane) {
    if (!counts(name, rows, grid_.world())) return;
    for (int peer = 0; peer < grid_.world(); ++peer) {
      bool const member =
          lane ? grid_.same_lane(plan_.rank, RankId{peer}) : grid_.same_experts(plan_.rank, RankId{peer});
      if (!expect(member || rows[to_size(peer)] == 0, DispatchRule::outside_group,
                  "{}[{}] is {}, but rank {} is not in this rank's {}", name, peer, rows[to_size(peer)], peer,
                  lane ? "EP lane" : "TP group"))
        return;
    }
  }

  void check(RowExchange const& exchange) {
    check_group("send_rows", exchange.send_rows, true);
    check_group("receive_rows", exchange.receive_rows, true);
  }

  void check(TpGather const& gather) {
    check_group("tp receive_rows", gather.receive_rows, false);
    if (static_cast<std::int64_t>(gather.receive_rows.size()) != grid_.world()) return;
    expect(gather.own_rows == gather.receive_rows[plan_.rank.index()], DispatchRule::rows_not_conserved,
           "contributes {} rows to the TP gather but expects {} of itself", gather.own_rows,
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

  /// Rows out of every stage are the rows into the next one; tokens enter, expert rows leave.
  void check_row_chain() {
    std::int64_t rows = plan_.num_tokens;
    for (std::size_t i = 0; i < plan_.stages.size(); ++i) {
      std::int64_t const wanted = input_rows(plan_.stages[i]);
      expect(wanted == rows, DispatchRule::rows_not_conserved, "stage {} takes {} rows but is handed {}", i, wanted,
             rows);
      rows = output_rows(plan_.stages[i]);
    }
    expect(rows == plan_.num_expert_rows(), DispatchRule::rows_not_conserved,
           "the last stage hands on {} rows, but tokens_per_local_expert adds up to {}", rows, plan_.num_expert_rows());
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
