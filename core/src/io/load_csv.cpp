// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>

#include "load_formats.hpp"
#include "switchyard/internal/require.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

constexpr std::string_view kBlank = " \t\r";

struct Cell {
  std::string_view text;  // without blanks around it
  std::size_t offset = 0;
};

/// Splits a text into lines of cells. Blank lines are skipped, CRLF and a byte order mark are tolerated.
class CsvLines {
 public:
  explicit CsvLines(LoadText const& text)
      : text_(text), position_(text.content.substr(0, 3) == "\xef\xbb\xbf" ? 3 : 0) {}

  /// Fills `cells` with the next line that is not blank. @return false at the end.
  bool next(std::vector<Cell>& cells) {
    while (position_ < text_.content.size()) {
      std::size_t const start = position_;
      std::size_t const end = std::min(text_.content.find('\n', start), text_.content.size());
      position_ = end + 1;
      if (text_.content.substr(start, end - start).find_first_not_of(kBlank) == std::string_view::npos) continue;
      split(start, end, cells);
      return true;
    }
    return false;
  }

  [[noreturn]] void fail(Cell const& cell, std::string_view problem) const {
    refuse_text(text_.name, text_.content, cell.offset, fmt::format("found '{}', {}", excerpt(cell.text), problem));
  }

  [[nodiscard]] double load(Cell const& cell) const {
    double value = 0;
    if (!convert(cell, value) || !is_load(value)) fail(cell, kLoadRule);
    return value;
  }

  [[nodiscard]] std::int64_t id(Cell const& cell, std::string_view what, std::int64_t limit) const {
    std::int64_t value = 0;
    if (!convert(cell, value) || value < 0 || value >= limit)
      fail(cell, fmt::format("the {} must be an integer in [0, {})", what, limit));
    return value;
  }

  template <typename T>
  static bool convert(Cell const& cell, T& value) {
    char const* const end = cell.text.data() + cell.text.size();
    auto const [stopped, error] = std::from_chars(cell.text.data(), end, value);
    return error == std::errc{} && stopped == end;
  }

 private:
  void split(std::size_t start, std::size_t end, std::vector<Cell>& cells) const {
    cells.clear();
    while (true) {
      std::size_t const comma = std::min(text_.content.find(',', start), end);
      std::string_view const raw = text_.content.substr(start, comma - start);
      std::size_t const blanks = std::min(raw.find_first_not_of(kBlank), raw.size());
      std::string_view const text = raw.substr(blanks, raw.find_last_not_of(kBlank) + 1 - blanks);
      cells.push_back({text, start + blanks});
      if (comma == end) return;
      start = comma + 1;
    }
  }

  LoadText const& text_;
  std::size_t position_;
};

ExpertLoad make_load(LoadText const& text, std::int64_t steps, std::int64_t layers, std::int64_t experts,
                     std::vector<double> values) {
  require_load_sizes(text, steps, layers, experts);
  return {static_cast<int>(steps), static_cast<int>(layers), static_cast<int>(experts), std::move(values)};
}

/// One row per layer, one column per expert. `cells` holds the first line.
ExpertLoad read_matrix(LoadText const& text, CsvLines& lines, std::vector<Cell>& cells) {
  std::size_t const experts = cells.size();
  std::int64_t layers = 0;
  std::vector<double> values;
  do {
    if (cells.size() != experts)
      lines.fail(cells.back(),
                 fmt::format("the row has {} cells, the first has {}: all must agree", cells.size(), experts));
    for (Cell const& cell : cells) values.push_back(lines.load(cell));
    ++layers;
  } while (lines.next(cells));
  return make_load(text, 1, layers, static_cast<std::int64_t>(experts), std::move(values));
}

/// One row of the long form.
struct LoadRow {
  std::int64_t step;
  std::int64_t layer;
  std::int64_t expert;
  double load;
  std::size_t offset;
};

std::vector<LoadRow> read_rows(LoadText const& text, CsvLines& lines, std::vector<Cell>& cells, bool has_steps) {
  constexpr std::int64_t kIdLimit = std::int64_t{1} << 31;
  std::size_t const columns = cells.size();
  std::int64_t const expert_limit = text.num_experts > 0 ? text.num_experts : kMaxExperts;
  std::vector<LoadRow> rows;
  while (lines.next(cells)) {
    if (cells.size() != columns)
      lines.fail(cells.back(), fmt::format("the row has {} cells, {} are required", cells.size(), columns));
    std::size_t const first = has_steps ? 1 : 0;
    rows.push_back({has_steps ? lines.id(cells[0], "step", kIdLimit) : 0, lines.id(cells[first], "layer", kIdLimit),
                    lines.id(cells[first + 1], "expert", expert_limit), lines.load(cells[first + 2]),
                    cells[first + 2].offset});
  }
  SWITCHYARD_REQUIRE(!rows.empty(), parse, "{}: no row follows the header: the recording is empty", text.name);
  return rows;
}

IdRange range_of(LoadText const& text, std::string_view what, std::vector<LoadRow> const& rows,
                 std::int64_t LoadRow::*field) {
  std::vector<std::int64_t> ids(rows.size());
  std::transform(rows.begin(), rows.end(), ids.begin(), [field](LoadRow const& row) { return row.*field; });
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return contiguous_range(text, what, ids);
}

/// Places every row; a cell named twice or never is refused, since both look like a damaged recording.
ExpertLoad place_rows(LoadText const& text, CsvLines const& lines, std::vector<LoadRow> const& rows, int& first_layer) {
  IdRange const steps = range_of(text, "step", rows, &LoadRow::step);
  IdRange const layers = range_of(text, "layer", rows, &LoadRow::layer);
  first_layer = static_cast<int>(layers.first);
  auto const last = std::max_element(rows.begin(), rows.end(), [](auto& a, auto& b) { return a.expert < b.expert; });
  std::int64_t const experts = text.num_experts > 0 ? text.num_experts : last->expert + 1;
  require_load_sizes(text, steps.count, layers.count, experts);
  std::vector<double> values(static_cast<std::size_t>(steps.count * layers.count * experts), -1.0);
  for (LoadRow const& row : rows) {
    std::int64_t const cell =
        ((row.step - steps.first) * layers.count + row.layer - layers.first) * experts + row.expert;
    double& value = values[static_cast<std::size_t>(cell)];
    if (value >= 0)
      lines.fail({fmt::format("{}", row.load), row.offset},
                 fmt::format("step {}, layer {}, expert {} has a row already", row.step, row.layer, row.expert));
    value = row.load;
  }
  auto const gap = std::find(values.begin(), values.end(), -1.0) - values.begin();
  SWITCHYARD_REQUIRE(static_cast<std::size_t>(gap) == values.size(), parse,
                     "{}: step {}, layer {} has no row for expert {}: write a row with load 0 if it was idle, or check "
                     "the expert count {}",
                     text.name, steps.first + gap / experts / layers.count, layers.first + gap / experts % layers.count,
                     gap % experts, experts);
  return make_load(text, steps.count, layers.count, experts, std::move(values));
}

/// @return whether the header is one of the two known, and if so whether it has steps.
bool header_has_steps(CsvLines const& lines, std::vector<Cell> const& cells) {
  std::vector<std::string_view> names;
  for (Cell const& cell : cells) names.push_back(cell.text);
  if (names == std::vector<std::string_view>{"layer", "expert", "load"}) return false;
  if (names == std::vector<std::string_view>{"step", "layer", "expert", "load"}) return true;
  lines.fail(
      cells.front(),
      "the file must be npy, JSON, or CSV: a header 'layer,expert,load' or 'step,layer,expert,load', or numbers only");
}

}  // namespace

LoadReadResult parse_csv_load(LoadText const& text) {
  CsvLines lines(text);
  std::vector<Cell> cells;
  SWITCHYARD_REQUIRE(lines.next(cells), parse, "{}: the file is empty", text.name);
  LoadReadResult result;
  result.format = LoadFormat::csv;
  double ignored = 0;
  if (CsvLines::convert(cells.front(), ignored)) {
    result.load = read_matrix(text, lines, cells);
  } else {
    result.load =
        place_rows(text, lines, read_rows(text, lines, cells, header_has_steps(lines, cells)), result.first_layer);
  }
  return result;
}

}  // namespace switchyard::io
