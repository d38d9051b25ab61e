// SPDX-License-Identifier: Apache-2.0
/// JSON form of dispatch plans (docs/formats/dispatch-plan.md). Reading is strict; writing is byte-stable.
#pragma once

#include <string>
#include <string_view>

#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard::io {

/// @return one rank's plan as text, integers only, one line per list. Same plan, same bytes.
[[nodiscard]] std::string to_json(DispatchPlan const& plan);

/// Reads what to_json writes. @param source_name the text's name for messages.
/// @throws Error{parse} naming source, byte offset, path and value for anything malformed; Error{invalid_plan} when the
///         stored fingerprint is not the plan's. The plan's own rules are NOT checked: see validate().
[[nodiscard]] DispatchPlan dispatch_plan_from_json(std::string_view text, std::string const& source_name);

}  // namespace switchyard::io
