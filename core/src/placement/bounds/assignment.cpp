// SPDX-License-Identifier: Apache-2.0
#include "assignment.hpp"

#include <limits>

namespace switchyard::placement {

namespace {

/// The dual solution and the matching so far. Columns carry an extra entry, `size`, that stands for "the row to add".
class Matching {
 public:
  explicit Matching(CostMatrix const& costs)
      : costs_(costs), row_price_(costs.size, 0), column_price_(costs.size + 1, 0), row_of_(costs.size + 1, kNone) {}

  void add_row(std::size_t row) {
    row_of_[costs_.size] = row;
    distance_.assign(costs_.size, std::numeric_limits<std::int64_t>::max());
    came_from_.assign(costs_.size, costs_.size);
    done_.assign(costs_.size + 1, false);
    std::size_t column = costs_.size;
    while (row_of_[column] != kNone) {
      column = extend(column);
    }
    flip(column);
  }

  [[nodiscard]] std::vector<std::size_t> column_of_rows() const {
    std::vector<std::size_t> columns(costs_.size);
    for (std::size_t column = 0; column < costs_.size; ++column) {
      columns[row_of_[column]] = column;
    }
    return columns;
  }

 private:
  static constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

  /// Settles `column`, relaxes the others through its row, and @return the nearest one not settled.
  std::size_t extend(std::size_t column) {
    done_[column] = true;
    std::size_t const row = row_of_[column];
    std::size_t nearest = costs_.size;
    for (std::size_t other = 0; other < costs_.size; ++other) {
      if (done_[other]) {
        continue;
      }
      std::int64_t const reduced = costs_.at(row, other) - row_price_[row] - column_price_[other];
      if (reduced < distance_[other]) {
        distance_[other] = reduced;
        came_from_[other] = column;
      }
      if (nearest == costs_.size || distance_[other] < distance_[nearest]) {
        nearest = other;
      }
    }
    lower_prices(distance_[nearest]);
    return nearest;
  }

  /// Keeps every reduced cost non-negative and makes the nearest column's zero.
  void lower_prices(std::int64_t step) {
    for (std::size_t column = 0; column <= costs_.size; ++column) {
      if (done_[column]) {
        row_price_[row_of_[column]] += step;
        column_price_[column] -= step;
      } else if (distance_[column] != std::numeric_limits<std::int64_t>::max()) {
        distance_[column] -= step;
      }
    }
  }

  /// Gives the free column to the path's rows, one shifted to the next.
  void flip(std::size_t column) {
    while (column != costs_.size) {
      std::size_t const from = came_from_[column];
      row_of_[column] = row_of_[from];
      column = from;
    }
  }

  CostMatrix const& costs_;
  std::vector<std::int64_t> row_price_;
  std::vector<std::int64_t> column_price_;
  std::vector<std::size_t> row_of_;  // [columns + 1]
  std::vector<std::int64_t> distance_{};
  std::vector<std::size_t> came_from_{};
  std::vector<bool> done_{};
};

}  // namespace

std::vector<std::size_t> cheapest_assignment(CostMatrix const& costs) {
  Matching matching(costs);
  for (std::size_t row = 0; row < costs.size; ++row) {
    matching.add_row(row);
  }
  return matching.column_of_rows();
}

}  // namespace switchyard::placement
