// SPDX-License-Identifier: Apache-2.0
/// The report of `switchyard memory`, as a table and as JSON.
#pragma once

#include <string>

#include "switchyard/experts/memory_plan.hpp"

namespace switchyard::cli {

struct MemoryReport {
  MemoryRequest request{};
  MemoryPlan plan{};  ///< only the families to show
};

[[nodiscard]] std::string to_table(MemoryReport const& report);
[[nodiscard]] std::string to_json(MemoryReport const& report);

}  // namespace switchyard::cli
