// SPDX-License-Identifier: Apache-2.0
#include "assignment.hpp"

#include <algorithm>
#include <functional>
#include <queue>
#include <utility>

namespace switchyard::placement {

namespace {

constexpr std::int64_t kFar = std::numeric_limits<std::int64_t>::max();

/// The matching of the rows added so far and its prices. To take column c costs a row top_ - weight; to stay without a
/// column costs top_, as if every row had a column of its own. Hence all costs are at least 0, and a path may end at a
/// free column or at a row that gives its column up.
class Matching {
 public:
  explicit Matching(PairWeights const& weights)
      : weights_(weights),
        column_of_(weights.rows.size(), kUnmatched),
        row_of_(weights.num_columns, kUnmatched),
        row_price_(weights.rows.size(), 0),
        column_price_(weights.num_columns, 0),
        distance_(weights.num_columns, kFar),
        came_from_(weights.num_columns, kUnmatched),
        is_done_(weights.num_columns, false) {
    for (auto const& row : weights.rows) {
      for (WeightedColumn const& pair : row) {
        top_ = std::max(top_, pair.weight);
      }
    }
  }

  /// Finds the cheapest way to take in `row`: Dijkstra's search over columns, each settled one continuing with its row.
  void add_row(std::size_t row) {
    start_search(row);
    while (!queue_.empty()) {
      auto const [distance, column] = queue_.top();
      queue_.pop();
      if (distance >= end_distance_) {
        break;
      }
      if (is_done_[column] || distance > distance_[column]) {
        continue;
      }
      is_done_[column] = true;
      settled_.push_back(column);
      if (row_of_[column] == kUnmatched) {
        end_distance_ = distance;
        end_column_ = column;
        break;
      }
      look_from(row_of_[column], distance);
    }
    raise_prices(row);
    flip();
  }

  [[nodiscard]] std::vector<std::size_t> const& column_of_rows() const { return column_of_; }

 private:
  using Item = std::pair<std::int64_t, std::size_t>;  // distance, column

  void start_search(std::size_t row) {
    for (std::size_t const column : seen_) {
      distance_[column] = kFar;
      came_from_[column] = kUnmatched;
      is_done_[column] = false;
    }
    seen_.clear();
    settled_.clear();
    queue_ = {};
    end_distance_ = kFar;
    end_column_ = kUnmatched;
    end_row_ = kUnmatched;
    look_from(row, 0);
  }

  /// Relaxes the row's columns, and the end in which the row goes without one.
  void look_from(std::size_t row, std::int64_t so_far) {
    if (std::int64_t const without = so_far + top_ - row_price_[row]; without < end_distance_) {
      end_distance_ = without;
      end_row_ = row;
    }
    for (WeightedColumn const& pair : weights_.rows[row]) {
      std::int64_t const reached = so_far + top_ - pair.weight - row_price_[row] - column_price_[pair.column];
      if (reached < distance_[pair.column]) {
        if (distance_[pair.column] == kFar) {
          seen_.push_back(pair.column);
        }
        distance_[pair.column] = reached;
        came_from_[pair.column] = row;
        queue_.push({reached, pair.column});
      }
    }
  }

  void raise_prices(std::size_t row) {
    row_price_[row] += end_distance_;
    for (std::size_t const column : settled_) {
      std::int64_t const step = end_distance_ - distance_[column];
      column_price_[column] -= step;
      if (row_of_[column] != kUnmatched) {
        row_price_[row_of_[column]] += step;
      }
    }
  }

  /// Shifts the path's columns by one row towards its end.
  void flip() {
    std::size_t column = end_column_;
    if (column == kUnmatched) {
      column = column_of_[end_row_];
      column_of_[end_row_] = kUnmatched;
    }
    while (column != kUnmatched) {
      std::size_t const taker = came_from_[column];
      row_of_[column] = taker;
      column = std::exchange(column_of_[taker], column);  // none when the taker is the new row
    }
  }

  PairWeights const& weights_;
  std::vector<std::size_t> column_of_;  // [rows]
  std::vector<std::size_t> row_of_;     // [columns]
  std::vector<std::int64_t> row_price_;
  std::vector<std::int64_t> column_price_;
  std::vector<std::int64_t> distance_;  // [columns]
  std::vector<std::size_t> came_from_;  // [columns] row
  std::vector<bool> is_done_;           // [columns]
  std::vector<std::size_t> seen_{};
  std::vector<std::size_t> settled_{};
  std::priority_queue<Item, std::vector<Item>, std::greater<>> queue_{};
  std::int64_t top_ = 0;
  std::int64_t end_distance_ = 0;
  std::size_t end_column_ = kUnmatched;  // free column at the end of the path, or:
  std::size_t end_row_ = kUnmatched;     // the row that stays without
};

}  // namespace

std::vector<std::size_t> heaviest_matching(PairWeights const& weights) {
  Matching matching(weights);
  for (std::size_t row = 0; row < weights.rows.size(); ++row) {
    matching.add_row(row);
  }
  return matching.column_of_rows();
}

}  // namespace switchyard::placement
