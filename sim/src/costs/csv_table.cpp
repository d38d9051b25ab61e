// SPDX-License-Identifier: Apache-2.0
#include "costs/csv_table.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

std::vector<std::string_view> split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    auto const end = text.find(separator);
    parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

}  // namespace

CsvTable::CsvTable(std::string_view text, std::string file) : file_(std::move(file)) {
  auto const lines = split(text, '\n');
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::string_view line = lines[i];
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty()) continue;
    SWITCHYARD_REQUIRE(line.find('"') == std::string_view::npos, parse, "{}: line {}: quoted cells are not read", file_,
                       i + 1);
    auto cells = split(line, ',');
    if (header_.empty()) {
      header_ = std::move(cells);
      continue;
    }
    SWITCHYARD_REQUIRE(cells.size() == header_.size(), parse, "{}: line {} has {} cells, the header {}: it is cut off",
                       file_, i + 1, cells.size(), header_.size());
    rows_.push_back(std::move(cells));
    lines_.push_back(i + 1);
  }
  SWITCHYARD_REQUIRE(!header_.empty(), parse, "{}: empty: a calibration file starts with a header", file_);
}

bool CsvTable::has(std::string_view column) const noexcept {
  return std::find(header_.begin(), header_.end(), column) != header_.end();
}

std::size_t CsvTable::index_of(std::string_view column) const {
  SWITCHYARD_REQUIRE(has(column), parse, "{}: the header has no column \"{}\": without it the times say nothing", file_,
                     column);
  return static_cast<std::size_t>(std::find(header_.begin(), header_.end(), column) - header_.begin());
}

void CsvTable::fail(std::size_t row, std::string_view column, std::string_view problem) const {
  throw_error(ErrorCode::parse, fmt::format("{}: line {}: {}: found \"{}\", {}", file_, lines_[row], column,
                                            rows_[row][index_of(column)].substr(0, 60), problem));
}

std::string CsvTable::text(std::size_t row, std::string_view column) const {
  std::string_view const cell = rows_[row][index_of(column)];
  if (cell.empty()) fail(row, column, "it must say something: data of unknown origin is not fitted");
  return std::string(cell);
}

double CsvTable::number(std::size_t row, std::string_view column) const {
  std::string_view const cell = rows_[row][index_of(column)];
  double value = 0;
  auto const [end, error] = std::from_chars(cell.data(), cell.data() + cell.size(), value);
  if (error != std::errc{} || end != cell.data() + cell.size() || !std::isfinite(value) || value < 0)
    fail(row, column, "use a number, finite and not negative");
  return value;
}

std::int64_t CsvTable::integer(std::size_t row, std::string_view column) const {
  constexpr double kLargest = 9007199254740992.0;
  double const value = number(row, column);
  if (value != std::floor(value) || value > kLargest) fail(row, column, "use a whole number");
  return static_cast<std::int64_t>(value);
}

}  // namespace switchyard::sim
