// SPDX-License-Identifier: Apache-2.0
/// Reading a schedule from a parsed file.
#pragma once

#include <string>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"

namespace switchyard::io::plan_json {

/// @throws as rebalance_schedule_from_json().
[[nodiscard]] RebalanceSchedule read_schedule(JsonValue const& root, std::string const& source_name);

}  // namespace switchyard::io::plan_json
