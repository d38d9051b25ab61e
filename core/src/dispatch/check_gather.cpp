// SPDX-License-Identifier: Apache-2.0
#include "check_gather.hpp"

#include <algorithm>
#include <functional>
#include <tuple>
#include <utility>
#include <vector>

#include "row_sums.hpp"
#include "switchyard/dispatch/row_order.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

class GatherChecker {
 public:
  GatherChecker(DispatchPlan const& plan, RowGather const& gather, GatherPlace const& place, ViolationReport& report)
      : plan_(plan), gather_(gather), place_(place), report_(report) {}

  void run() {
    if (!check_shapes() || !check_ranges()) return;
    check_lists();
    switch (place_.role) {
      case StageRole::source_rows: return check_source_rows();
      case StageRole::source_bins: return check_bins();
      case StageRole::bin_rows: return check_bins();
      case StageRole::expand_rows: return check_expansion();
      case StageRole::sort_rows: return check_sort();
      default: return;
    }
  }

 private:
  template <typename... Args>
  bool expect(bool holds, DispatchRule rule, fmt::format_string<Args...> text, Args&&... args) {
    return report_.expect(holds, rule, plan_.rank, text, std::forward<Args>(args)...);
  }
  bool length(char const* name, std::vector<std::int64_t> const& values, std::int64_t expected) {
    return expect(static_cast<std::int64_t>(values.size()) == expected, DispatchRule::shape_mismatch,
                  "{} of a {} has {} entries instead of {}", name, name_of(place_.role), values.size(), expected);
  }
  [[nodiscard]] bool has_slots() const {
    return place_.role == StageRole::source_rows || place_.role == StageRole::source_bins ||
           place_.role == StageRole::expand_rows;
  }
  [[nodiscard]] bool has_bins() const {
    return place_.role == StageRole::source_bins || place_.role == StageRole::bin_rows;
  }
  [[nodiscard]] std::int64_t rows() const { return static_cast<std::int64_t>(gather_.token_of_row.size()); }
  [[nodiscard]] std::int64_t slot(std::size_t row) const { return has_slots() ? gather_.slot_of_row[row] : 0; }

  bool check_shapes() {
    auto const kept = rows() - std::count(gather_.token_of_row.begin(), gather_.token_of_row.end(), -1);
    bool good = length("slot_of_row", gather_.slot_of_row, has_slots() ? rows() : 0);
    good = length("rows_of_token", gather_.rows_of_token, kept) && good;
    return expect(place_.inputs < INT64_MAX && static_cast<std::int64_t>(gather_.row_begin.size()) == place_.inputs + 1,
                  DispatchRule::shape_mismatch, "row_begin of a {} has {} entries for {} input rows",
                  name_of(place_.role), gather_.row_begin.size(), place_.inputs) &&
           good;
  }

  bool check_ranges() {
    std::int64_t const least = has_bins() ? -1 : 0;
    bool good = check_range(plan_, "token_of_row", gather_.token_of_row, least, place_.inputs, report_);
    good = check_range(plan_, "slot_of_row", gather_.slot_of_row, least, plan_.slot_columns, report_) && good;
    good = check_range(plan_, "rows_of_token", gather_.rows_of_token, 0, rows(), report_) && good;
    bool const offsets = gather_.row_begin.front() == 0 &&
                         gather_.row_begin.back() == static_cast<std::int64_t>(gather_.rows_of_token.size()) &&
                         std::is_sorted(gather_.row_begin.begin(), gather_.row_begin.end());
    return expect(offsets, DispatchRule::shape_mismatch, "row_begin does not rise from 0 to {}",
                  gather_.rows_of_token.size()) &&
           good;
  }

  /// Keys that rise strictly inside an input make its rows distinct, so with equal totals the lists are a bijection.
  void check_lists() {
    bool const by_slot = place_.role == StageRole::source_rows || place_.role == StageRole::source_bins;
    for (std::int64_t input = 0; input < place_.inputs; ++input) {
      std::int64_t last = -1;
      for (auto i = gather_.row_begin[to_size(input)]; i < gather_.row_begin[to_size(input) + 1]; ++i) {
        auto const row = to_size(gather_.rows_of_token[to_size(i)]);
        std::int64_t const key = by_slot ? gather_.slot_of_row[row] : static_cast<std::int64_t>(row);
        if (!expect(gather_.token_of_row[row] == input && key > last, DispatchRule::not_inverse,
                    "token {} lists row {}, which is of token {}, {} {} (after {})", input, row,
                    gather_.token_of_row[row], by_slot ? "slot" : "row", key, last))
          return;
        last = key;
      }
    }
  }

  /// Whether the blocks cut the rows; if not, the plan's counts are reported elsewhere.
  [[nodiscard]] bool is_cut(std::vector<std::int64_t> const& blocks) const {
    return sum_rows(blocks) == rows() && std::all_of(blocks.begin(), blocks.end(), [](auto size) { return size >= 0; });
  }

  /// Inside every block of rows, key(row) must rise strictly; empty bins are passed over.
  template <typename Key>
  void check_blocks(std::vector<std::int64_t> const& blocks, Key const& key) {
    if (!is_cut(blocks)) return;
    std::size_t row = 0;
    for (std::size_t block = 0; block < blocks.size(); ++block) {
      std::size_t const end = row + to_size(blocks[block]);
      for (std::size_t const first = row; row < end; ++row) {
        if (row == first || gather_.token_of_row[row] < 0 || gather_.token_of_row[row - 1] < 0) continue;
        if (!expect(key(row - 1) < key(row), DispatchRule::wrong_order,
                    "rows {} and {} of a {} (block {}) are out of order: tokens {} and {}", row - 1, row,
                    name_of(place_.role), block, gather_.token_of_row[row - 1], gather_.token_of_row[row]))
          return;
      }
    }
  }

  void check_source_rows() {
    std::int64_t const sum = sum_rows(plan_.rows_per_slot);
    expect(sum == rows(), DispatchRule::rows_not_conserved, "rows_per_slot adds up to {} but {} rows are gathered", sum,
           rows());
    check_blocks(plan_.rows_per_slot, [&](std::size_t row) {
      return std::pair{gather_.token_of_row[row], gather_.slot_of_row[row]};
    });
  }

  /// Position in the row order of the rank that every input row came from.
  [[nodiscard]] std::vector<std::int64_t> input_positions() const {
    std::vector<std::int64_t> positions;
    positions.reserve(to_size(place_.inputs));
    for (std::size_t source = 0; source < place_.by_source.size(); ++source) {
      RankId const rank{static_cast<std::int32_t>(source)};
      positions.insert(positions.end(), to_size(place_.by_source[source]),
                       source_position(plan_.setup.grid, plan_.setup.row_order, rank));
    }
    positions.resize(to_size(place_.inputs), 0);
    return positions;
  }

  void check_expansion() {
    bool const counted = std::all_of(place_.by_source.begin(), place_.by_source.end(), [](auto n) { return n >= 0; });
    if (!counted || sum_rows(place_.by_source) > place_.inputs) return;  // reported with the counts and the row chain
    auto const positions = input_positions();
    check_blocks(plan_.tokens_per_local_expert, [&](std::size_t row) {
      std::int64_t const input = gather_.token_of_row[row];
      return std::tuple{positions[to_size(input)], input, gather_.slot_of_row[row]};
    });
  }

  void check_sort() {
    expect(rows() == place_.inputs, DispatchRule::rows_not_conserved, "a sort makes {} rows of {}", rows(),
           place_.inputs);
    check_blocks(plan_.setup.bins == ExpertBins::exact ? plan_.tokens_per_local_expert : std::vector<std::int64_t>{},
                 [&](std::size_t row) { return gather_.token_of_row[row]; });
  }

  void check_bins() {
    auto const& blocks = plan_.tokens_per_local_expert;
    if (!is_cut(blocks)) return;
    check_block_sizes(blocks);
    check_blocks(blocks, [&](std::size_t row) { return std::pair{gather_.token_of_row[row], slot(row)}; });
    std::size_t first = 0;
    BinWalk walk;
    for (std::size_t block = 0; block < blocks.size(); ++block) {
      if (!check_bin(block, first, to_size(blocks[block]), walk)) return;
      first += to_size(blocks[block]);
    }
    if (place_.role == StageRole::bin_rows && !walk.full)
      expect(walk.next == place_.inputs, DispatchRule::rows_not_conserved,
             "the last bin has room, but only {} of {} rows are in bins", walk.next, place_.inputs);
  }

  /// What the bins so far have taken.
  struct BinWalk {
    std::int64_t next = 0;  ///< the sorted row after the last one taken
    bool full = true;       ///< whether rows from `next` on may have been dropped
  };

  /// Filled rows first, and for sorted rows without a gap.
  bool check_bin(std::size_t bin, std::size_t first, std::size_t size, BinWalk& walk) {
    auto const begin = gather_.token_of_row.begin() + static_cast<std::ptrdiff_t>(first);
    auto const end = begin + static_cast<std::ptrdiff_t>(size);
    auto const empty = std::find(begin, end, -1);
    bool const rest_empty = std::all_of(empty, end, [](auto token) { return token < 0; });
    if (!expect(rest_empty, DispatchRule::wrong_order, "bin {} has an empty row before a filled one", bin))
      return false;
    std::int64_t const filled = empty - begin;
    if (place_.role == StageRole::bin_rows && filled > 0) {
      bool const consecutive = *(empty - 1) - *begin == filled - 1;
      if (!expect(consecutive && (walk.full ? *begin >= walk.next : *begin == walk.next), DispatchRule::wrong_order,
                  "bin {} holds sorted rows {} to {} instead of {} rows from {} on", bin, *begin, *(empty - 1), filled,
                  walk.next))
        return false;
      walk.next = *begin + filled;
    }
    if (filled > 0 || size == 0) walk.full = empty == end;  // an expert without rows drops none and fills no gap
    check_fill(bin, static_cast<std::int64_t>(size), filled);
    return true;
  }

  void check_block_sizes(std::vector<std::int64_t> const& blocks) {
    bool const equal = std::adjacent_find(blocks.begin(), blocks.end(), std::not_equal_to<>()) == blocks.end();
    expect(plan_.setup.bins != ExpertBins::capacity || equal, DispatchRule::shape_mismatch,
           "bins of a capacity have different sizes");
    if (plan_.setup.bins != ExpertBins::blocks) return;
    std::int64_t const wanted = place_.role == StageRole::bin_rows ? place_.inputs : sum_rows(plan_.rows_per_slot);
    expect(static_cast<std::int64_t>(gather_.rows_of_token.size()) == wanted, DispatchRule::rows_not_conserved,
           "whole blocks hold {} rows of {}", gather_.rows_of_token.size(), wanted);
  }

  void check_fill(std::size_t block, std::int64_t size, std::int64_t filled) {
    std::int64_t const unit = plan_.setup.block_rows;
    if (plan_.setup.bins != ExpertBins::blocks) return;
    expect(size % unit == 0 && size - filled < unit, DispatchRule::shape_mismatch,
           "local expert {} has a block of {} rows for {} rows: whole blocks of {} are required", block, size, filled,
           unit);
  }

  DispatchPlan const& plan_;
  RowGather const& gather_;
  GatherPlace const& place_;
  ViolationReport& report_;
};

}  // namespace

void check_gather(DispatchPlan const& plan, RowGather const& gather, GatherPlace const& place,
                  ViolationReport& report) {
  GatherChecker(plan, gather, place, report).run();
}

bool check_range(DispatchPlan const& plan, char const* name, std::span<std::int64_t const> values, std::int64_t least,
                 std::int64_t limit, ViolationReport& report) {
  auto const bad = std::find_if(values.begin(), values.end(), [&](std::int64_t v) { return v < least || v >= limit; });
  return bad == values.end() ||
         report.expect(false, DispatchRule::index_out_of_range, plan.rank, "{}[{}] is {}: valid are {} to {}", name,
                       bad - values.begin(), *bad, least, limit - 1);
}

}  // namespace switchyard
