// SPDX-License-Identifier: Apache-2.0
/// Runs one MegaBlocks case of a golden file on emulated ranks (golden FORMAT: megablocks_dev.json).
#pragma once

#include <string>

#include "switchyard/internal/json_value.hpp"
#include "vectors/dispatch_backend.hpp"

namespace switchyard::tools {

/// Compares indices, bin_ids, bins, tokens_per_expert, the capacity, the rows in every bin and the combined values for
/// equality. @return empty when all agree, else the first mismatch.
/// @throws Error{parse} for a case that does not follow the format.
[[nodiscard]] std::string run_megablocks_case(io::JsonValue const& golden, DispatchBackend const& backend);
/// The same on the CPU reference.
[[nodiscard]] std::string run_megablocks_case(io::JsonValue const& golden);

}  // namespace switchyard::tools
