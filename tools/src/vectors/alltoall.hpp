// SPDX-License-Identifier: Apache-2.0
/// Runs one AlltoAll case of a Megatron golden file on emulated ranks (golden FORMAT: megatron_dev.json).
#pragma once

#include <string>

#include "switchyard/internal/json_value.hpp"
#include "vectors/dispatch_backend.hpp"

namespace switchyard::tools {

/// Plans, dispatches and combines the case over a communicator; every rank executes a plan that went through JSON.
/// Compares every integer field, the dispatched rows in order and the combined values for equality.
/// @return empty when all agree, else the first mismatch: rank, field, index, expected, got.
/// @throws Error{parse} for a case that does not follow the format.
[[nodiscard]] std::string run_alltoall_case(io::JsonValue const& golden, DispatchBackend const& backend);
/// The same on the CPU reference.
[[nodiscard]] std::string run_alltoall_case(io::JsonValue const& golden);

}  // namespace switchyard::tools
