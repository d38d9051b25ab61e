// SPDX-License-Identifier: Apache-2.0
/// NumberTable: numbers things by their hash: open addressing over numbers that the caller compares itself.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace switchyard::sim {

class NumberTable {
 public:
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  /// @param same whether the thing with a number is the one looked for. @return its number; `fresh`, which is then in
  ///        the table, when there is none.
  template <typename Same>
  std::uint32_t find_or_add(std::uint64_t hash, std::uint32_t fresh, Same const& same) {
    if (2 * (size_ + 1) > cells_.size()) grow();
    std::size_t at = spread(hash);
    while (cells_[at].number != kNone) {
      if (cells_[at].hash == hash && same(cells_[at].number)) return cells_[at].number;
      at = (at + 1) & (cells_.size() - 1);
    }
    cells_[at] = {hash, fresh};
    ++size_;
    return fresh;
  }

 private:
  struct Cell {
    std::uint64_t hash = 0;
    std::uint32_t number = kNone;
  };
  [[nodiscard]] std::size_t spread(std::uint64_t hash) const noexcept {
    return static_cast<std::size_t>((hash * 0x9e3779b97f4a7c15U) >> 20) & (cells_.size() - 1);
  }
  void grow() {
    std::vector<Cell> old(cells_.empty() ? 64 : 2 * cells_.size());
    old.swap(cells_);
    for (Cell const& cell : old) {
      if (cell.number == kNone) continue;
      std::size_t at = spread(cell.hash);
      while (cells_[at].number != kNone) at = (at + 1) & (cells_.size() - 1);
      cells_[at] = cell;
    }
  }

  std::vector<Cell> cells_;
  std::size_t size_ = 0;
};

}  // namespace switchyard::sim
