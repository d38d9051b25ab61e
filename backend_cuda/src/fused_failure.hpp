// SPDX-License-Identifier: Apache-2.0
/// What the error word of the fused path says.
#pragma once

#include <cstdint>

#include "fused_kernels.hpp"

namespace switchyard::cuda {

inline constexpr std::uint64_t kFirstGeneration = 2;  ///< windows are zero before the first operation

struct FusedFailure {
  FusedError kind;
  std::uint64_t operation;  ///< counted from 0
  int peer;
};
/// @param progress with an error. Of the operations with the generation's lowest bits it is the youngest that has
/// begun.
[[nodiscard]] inline FusedFailure fused_failure(FusedProgress const& progress) noexcept {
  std::uint64_t const since = (progress.generation - (progress.error >> kFusedPeerBits)) & kFusedGenerationMask;
  return {static_cast<FusedError>(progress.error >> 32), progress.generation - since - kFirstGeneration,
          static_cast<int>(progress.error & kFusedPeerMask)};
}

/// @throws the error that the word means, naming operation, rank and peer.
[[noreturn]] void throw_fused_failure(FusedProgress const& progress, int rank);

}  // namespace switchyard::cuda
