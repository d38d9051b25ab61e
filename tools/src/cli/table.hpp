// SPDX-License-Identifier: Apache-2.0
/// TextTable: aligned columns for people, and the few number formats that reports share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace switchyard::cli {

/// Rows of cells, every column as wide as its widest cell; the first column is left-aligned, the others right-aligned.
class TextTable {
 public:
  explicit TextTable(std::vector<std::string> header) : rows_{std::move(header)} {}
  /// @param cells as many as the header has; missing ones are empty.
  void add_row(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  [[nodiscard]] std::string str() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// @return "1,234,567".
[[nodiscard]] std::string grouped(std::int64_t value);
/// @return "412 B", "3.4 KiB", "11.6 GiB".
[[nodiscard]] std::string human_bytes(std::int64_t bytes);
/// @return the text as a field of a CSV line, quoted.
[[nodiscard]] std::string csv_field(std::string const& text);

}  // namespace switchyard::cli
