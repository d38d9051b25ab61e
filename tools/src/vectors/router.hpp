// SPDX-License-Identifier: Apache-2.0
/// Runs one case of the router golden vectors (golden FORMAT: router_dev.json) and compares every field.
#pragma once

#include <string>

#include "vectors/routed_batch.hpp"

namespace switchyard::io {
class JsonValue;
}

namespace switchyard::vectors {

/// A router case (it has `logits`): selections, counts, capacity and kept choices exactly; weights, losses and the
/// Sinkhorn matrix within 1e-5 relative, because the peer uses another exp and another order. Or a case of MegaBlocks'
/// batched loss (it has `layers`).
/// @return the first mismatch as one sentence, empty when the case passes. @throws Error{parse} for a malformed case.
[[nodiscard]] std::string run_router_case(io::JsonValue const& golden);
/// The same with choices, weights, counts and losses by `route`. Capacities, Sinkhorn and MegaBlocks' losses are
/// core's.
[[nodiscard]] std::string run_router_case_by(RoutedBatch (*route)(RouterRequest const&), io::JsonValue const& golden);

}  // namespace switchyard::vectors
