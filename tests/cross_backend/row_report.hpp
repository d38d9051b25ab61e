// SPDX-License-Identifier: Apache-2.0
/// Names of rows: a mismatch between two backends said by rank, expert, row, source rank, token, element and both bit
/// patterns.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "bit_report.hpp"
#include "switchyard/dispatch/row_tags.hpp"
#include "switchyard/experts/experts.hpp"

namespace cross_backend {

/// Rows of experts in the order of their blocks; without blocks, rows are tokens.
struct RowNames {
  int rank = 0;
  std::int64_t columns = 1;
  std::int64_t element_bytes = 1;
  std::span<switchyard::RowBlock const> blocks{};
  std::span<int const> experts{};                 ///< [blocks] logical experts; empty: named by the block's number
  std::span<switchyard::RowTag const> origins{};  ///< [rows] where a row came from; empty: not said
};

/// @return " (token 5 of rank 2)", " (an empty row)", or nothing where it is not known
inline std::string origin_name(RowNames const& names, std::int64_t row) {
  if (row >= static_cast<std::int64_t>(names.origins.size())) return "";
  switchyard::RowTag const& tag = names.origins[static_cast<std::size_t>(row)];
  if (!tag.source.valid()) return " (an empty row)";
  return " (token " + std::to_string(tag.token) + " of rank " + std::to_string(tag.source.value()) + ")";
}

inline std::string row_name(RowNames const& names, std::int64_t row) {
  std::string text = "rank " + std::to_string(names.rank);
  for (std::size_t block = 0; block < names.blocks.size(); ++block) {
    std::int64_t const within = row - names.blocks[block].first_row;
    if (within < 0 || within >= names.blocks[block].rows) continue;
    int const expert = names.experts.empty() ? static_cast<int>(block) : names.experts[block];
    return text + ", expert " + std::to_string(expert) + ", row " + std::to_string(within) + origin_name(names, row);
  }
  return text + (names.blocks.empty() ? ", token " : ", outside all blocks, row ") + std::to_string(row);
}

/// Bytes of little-endian numbers, most significant digit first.
inline std::string hex_of(std::span<std::byte const> bytes) {
  std::string text = "0x";
  for (std::size_t i = bytes.size(); i-- > 0;) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[static_cast<unsigned>(bytes[i]) >> 4];
    text += kDigits[static_cast<unsigned>(bytes[i]) & 15u];
  }
  return text;
}

inline std::size_t count_differing(std::span<std::byte const> cpu, std::span<std::byte const> gpu, std::size_t size) {
  std::size_t differing = 0;
  for (std::size_t at = 0; at + size <= cpu.size(); at += size)
    if (std::memcmp(cpu.data() + at, gpu.data() + at, size) != 0) ++differing;
  return differing;
}

/// @return nothing when all bytes are equal, else what the first differing element is, and how many differ
inline std::string difference_text(RowNames const& names, std::span<std::byte const> cpu,
                                   std::span<std::byte const> gpu) {
  if (cpu.size() != gpu.size())
    return "rank " + std::to_string(names.rank) + " has " + std::to_string(cpu.size()) + " bytes on the CPU, " +
           std::to_string(gpu.size()) + " on the GPU";
  auto const differ = std::mismatch(cpu.begin(), cpu.end(), gpu.begin());
  if (differ.first == cpu.end()) return "";
  auto const size = static_cast<std::size_t>(names.element_bytes);
  std::size_t const element = static_cast<std::size_t>(differ.first - cpu.begin()) / size;
  auto const index = static_cast<std::int64_t>(element);
  std::int64_t const columns = std::max<std::int64_t>(names.columns, 1);
  return "first at " + row_name(names, index / columns) + ", element " + std::to_string(index % columns) + ": CPU " +
         hex_of(cpu.subspan(element * size, size)) + " GPU " + hex_of(gpu.subspan(element * size, size)) + "; " +
         std::to_string(count_differing(cpu, gpu, size)) + " of " + std::to_string(cpu.size() / size) + " differ";
}

/// @param note goes into the report's line
template <typename T>
void compare_rows(BitReport& report, std::string const& name, RowNames names, std::vector<T> const& cpu,
                  std::vector<T> const& gpu, std::string const& note = "") {
  names.element_bytes = sizeof(T);
  std::string const difference = difference_text(names, std::as_bytes(std::span(cpu)), std::as_bytes(std::span(gpu)));
  report.state(difference.empty(), name + ": " + std::to_string(cpu.size()) + " values compared" +
                                       (difference.empty() ? "" : "; " + difference) +
                                       (note.empty() ? "" : "; " + note));
}

inline void compare_rows(BitReport& report, std::string const& name, std::vector<std::byte> const& cpu,
                         std::vector<std::byte> const& gpu, RowNames const& names) {
  std::string const difference = difference_text(names, cpu, gpu);
  report.state(difference.empty(), name + ": " + std::to_string(cpu.size()) + " bytes compared" +
                                       (difference.empty() ? "" : "; " + difference));
}

}  // namespace cross_backend
