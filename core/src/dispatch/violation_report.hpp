// SPDX-License-Identifier: Apache-2.0
/// ViolationReport: collects broken rules of dispatch plans. Included by .cpp files only (fmt).
#pragma once

#include <fmt/format.h>

#include <utility>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard {

class ViolationReport {
 public:
  /// Notes a violation unless `holds`. @return holds.
  template <typename... Args>
  bool expect(bool holds, DispatchRule rule, RankId rank, fmt::format_string<Args...> text, Args&&... args) {
    if (!holds) violations_.push_back({rule, rank, fmt::format(text, std::forward<Args>(args)...)});
    return holds;
  }
  void append(std::vector<DispatchViolation> violations) {
    for (auto& violation : violations) violations_.push_back(std::move(violation));
  }
  [[nodiscard]] std::vector<DispatchViolation> take() && { return std::move(violations_); }
  [[nodiscard]] bool clean() const noexcept { return violations_.empty(); }

 private:
  std::vector<DispatchViolation> violations_;
};

}  // namespace switchyard
