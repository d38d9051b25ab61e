// SPDX-License-Identifier: Apache-2.0
#include "fused_failure.hpp"

#include <fmt/format.h>

#include "switchyard/types/error.hpp"

namespace switchyard::cuda {
namespace {

ErrorCode code_of(FusedError kind) {
  switch (kind) {
    case FusedError::timeout: return ErrorCode::timeout;
    case FusedError::other_call: return ErrorCode::desync;
    case FusedError::other_rows: return ErrorCode::split_mismatch;
    case FusedError::peer_failed: return ErrorCode::aborted;
    case FusedError::bad_plan: return ErrorCode::invalid_plan;
    case FusedError::none: break;
  }
  return ErrorCode::internal;
}

std::string text_of(FusedError kind, int peer) {
  switch (kind) {
    case FusedError::timeout:
      return fmt::format(
          "waited in a kernel for rank {} beyond the deadline: it is slow, stuck or gone; make the group "
          "anew",
          peer);
    case FusedError::other_call:
      return fmt::format("rank {} issued another fused call: phase, plan, dtype or hidden size differ", peer);
    case FusedError::other_rows:
      return fmt::format(
          "rank {} stored another number of rows than the plan expects; give all ranks plans of one batch", peer);
    case FusedError::peer_failed: return fmt::format("rank {} gave up a fused call: its own check() says why", peer);
    case FusedError::bad_plan:
      return "the routing could not be planned: an id or weight at fault, or more rows than the budget; check(plan, "
             "stream) says which";
    case FusedError::none: break;
  }
  return "an error word of no kind";
}

}  // namespace

void throw_fused_failure(FusedProgress const& progress, int rank) {
  FusedFailure const failure = fused_failure(progress);
  throw_error(code_of(failure.kind), fmt::format("fused operation #{} on rank {}: {}; outputs are zeros since then",
                                                 failure.operation, rank, text_of(failure.kind, failure.peer)));
}

}  // namespace switchyard::cuda
