// SPDX-License-Identifier: Apache-2.0
/// CsvTable: a header and rows of plain comma-separated cells, with messages that name file, line and column.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::sim {

class CsvTable {
 public:
  /// Cells hold no quotes. @param text must outlive the table. @throws Error{parse} for no header, a row with another
  /// number of cells or a quote.
  CsvTable(std::string_view text, std::string file);

  [[nodiscard]] std::size_t num_rows() const noexcept { return rows_.size(); }
  [[nodiscard]] bool has(std::string_view column) const noexcept;
  /// Below: @throws Error{parse} for a missing column; text() for an empty cell; number() unless finite and not
  /// negative; integer() unless a whole number up to 2^53.
  [[nodiscard]] std::string text(std::size_t row, std::string_view column) const;
  [[nodiscard]] double number(std::size_t row, std::string_view column) const;
  [[nodiscard]] std::int64_t integer(std::size_t row, std::string_view column) const;

 private:
  [[nodiscard]] std::size_t index_of(std::string_view column) const;
  [[noreturn]] void fail(std::size_t row, std::string_view column, std::string_view problem) const;

  std::string file_;
  std::vector<std::string_view> header_{};
  std::vector<std::vector<std::string_view>> rows_{};
  std::vector<std::size_t> lines_{};  // [rows] line in the file, from 1
};

}  // namespace switchyard::sim
