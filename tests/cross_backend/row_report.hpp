// SPDX-License-Identifier: Apache-2.0
/// compare_rows(): bytes of rows of two backends, a mismatch named by rank, expert, row, element and both bit patterns.
#pragma once

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "bit_report.hpp"
#include "switchyard/experts/experts.hpp"

namespace cross_backend {

/// Rows of experts in the order of their blocks; without blocks, rows are tokens.
struct RowNames {
  int rank = 0;
  std::int64_t columns = 1;
  std::int64_t element_bytes = 1;
  std::span<switchyard::RowBlock const> blocks{};
};

inline std::string row_name(RowNames const& names, std::int64_t row) {
  std::string text = "rank " + std::to_string(names.rank);
  for (std::size_t expert = 0; expert < names.blocks.size(); ++expert) {
    std::int64_t const within = row - names.blocks[expert].first_row;
    if (within >= 0 && within < names.blocks[expert].rows)
      return text + ", expert " + std::to_string(expert) + ", row " + std::to_string(within);
  }
  return text + (names.blocks.empty() ? ", token " : ", outside all blocks, row ") + std::to_string(row);
}

inline std::string hex_of(std::span<std::byte const> bytes) {
  std::string text = "0x";
  for (std::size_t i = bytes.size(); i-- > 0;) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[static_cast<unsigned>(bytes[i]) >> 4];
    text += kDigits[static_cast<unsigned>(bytes[i]) & 15u];
  }
  return text;
}

inline void compare_rows(BitReport& report, std::string const& name, std::vector<std::byte> const& cpu,
                         std::vector<std::byte> const& gpu, RowNames const& names) {
  auto const differ = std::mismatch(cpu.begin(), cpu.end(), gpu.begin(), gpu.end());
  bool const equal = differ.first == cpu.end() && differ.second == gpu.end();
  std::string text = name + ": " + std::to_string(cpu.size()) + " bytes compared";
  if (cpu.size() != gpu.size()) text += ", the GPU gave " + std::to_string(gpu.size());
  if (!equal && cpu.size() == gpu.size()) {
    auto const size = static_cast<std::size_t>(names.element_bytes);
    std::size_t const element = static_cast<std::size_t>(differ.first - cpu.begin()) / size;
    auto const index = static_cast<std::int64_t>(element);
    text += "; first at " + row_name(names, index / names.columns) + ", element " +
            std::to_string(index % names.columns) + ": CPU " + hex_of(std::span(cpu).subspan(element * size, size)) +
            " GPU " + hex_of(std::span(gpu).subspan(element * size, size));
  }
  report.state(equal, text);
}

}  // namespace cross_backend
