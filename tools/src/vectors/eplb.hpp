// SPDX-License-Identifier: Apache-2.0
/// Runs one case of the EPLB golden vectors (vLLM's rebalance execution, DeepSeek's policy) and compares every field.
#pragma once

#include <string>

#include "vectors/dispatch_backend.hpp"

namespace switchyard::io {
class JsonValue;
}

namespace switchyard::vectors {

/// A case of eplb_exec: a move with its sends, receives, masks and final rows, or, when it has `reasons`, a request
/// that must be refused with exactly these rule names.
/// @return the first mismatch as one sentence, empty when the case passes. @throws Error{parse} for a malformed case.
[[nodiscard]] std::string run_eplb_exec_case(io::JsonValue const& vector);

/// The same, and then the move carried out on `backend`: every rank must hold the case's final rows.
[[nodiscard]] std::string run_eplb_moved_case(io::JsonValue const& vector, tools::DispatchBackend const& backend);

/// A case of eplb_policy: loads with phy2log, logcnt and log2phy. Returns and throws as above.
[[nodiscard]] std::string run_eplb_policy_case(io::JsonValue const& vector);

}  // namespace switchyard::vectors
