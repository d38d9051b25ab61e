// SPDX-License-Identifier: Apache-2.0
/// Runs one AllGather case of a Megatron golden file on emulated ranks (golden FORMAT: megatron_dev.json).
#pragma once

#include <string>

#include "switchyard/internal/json_value.hpp"
#include "vectors/dispatch_backend.hpp"

namespace switchyard::tools {

/// Compares tokens_per_local_expert, the permutation of the gathered tokens, the dispatched rows in order and the
/// combined values for equality. @return empty when all agree, else the first mismatch.
/// @throws Error{parse} for a case that does not follow the format, or has a capacity.
[[nodiscard]] std::string run_allgather_case(io::JsonValue const& golden, DispatchBackend const& backend);
/// The same on the CPU reference.
[[nodiscard]] std::string run_allgather_case(io::JsonValue const& golden);

}  // namespace switchyard::tools
