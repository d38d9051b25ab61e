// SPDX-License-Identifier: Apache-2.0
/// PairReport: counts the comparisons that all ranks of a program make, and prints the first differences.
#pragma once

#include <cstdio>
#include <mutex>
#include <string>

namespace cross_backend {

class PairReport {
 public:
  /// @param to where failures are printed; null: nowhere
  explicit PairReport(std::FILE* to = stdout) : to_(to) {}
  void compared(std::size_t values) {
    std::lock_guard const lock(mutex_);
    ++comparisons_;
    values_ += values;
  }
  void failed(std::string const& text) {
    std::lock_guard const lock(mutex_);
    if (failures_ == 0) first_failure_ = text;
    if (++failures_ <= kShown && to_ != nullptr) std::fprintf(to_, "FAILED %s\n", text.c_str());
  }
  [[nodiscard]] int failures() const { return failures_; }
  [[nodiscard]] long comparisons() const { return comparisons_; }
  [[nodiscard]] std::size_t values() const { return values_; }
  [[nodiscard]] std::string const& first_failure() const { return first_failure_; }

 private:
  static constexpr int kShown = 40;
  std::FILE* to_;
  std::mutex mutex_;
  int failures_ = 0;
  long comparisons_ = 0;
  std::size_t values_ = 0;
  std::string first_failure_;
};

}  // namespace cross_backend
