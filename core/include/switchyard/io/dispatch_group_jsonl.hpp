// SPDX-License-Identifier: Apache-2.0
/// The plans of a whole group in one text: one dispatch plan per line, rank ascending (docs/formats/dispatch-plan.md).
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard::io {

/// @return every plan's JSON on a line of its own. Same plans, same bytes.
[[nodiscard]] std::string to_jsonl(std::span<DispatchPlan const> plans);

/// @return the lines that hold a plan each, blank ones left out; the views are parts of `text`.
[[nodiscard]] std::vector<std::string_view> plan_lines(std::string_view text);

/// Reads what to_jsonl writes. @throws as dispatch_plan_from_json(), the number of the plan in the source's name. The
/// rules of the group are NOT checked: see validate_group().
[[nodiscard]] std::vector<DispatchPlan> dispatch_group_from_jsonl(std::string_view text,
                                                                  std::string const& source_name);

}  // namespace switchyard::io
