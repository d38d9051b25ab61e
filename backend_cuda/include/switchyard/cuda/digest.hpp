// SPDX-License-Identifier: Apache-2.0
/// Launchers for fingerprints and counter-based random numbers on the device, equal to the host's.
#pragma once

#include <cstdint>

#include "switchyard/cuda/stream.hpp"

namespace switchyard::cuda {

/// Adds the words of `values`, without their length, to *sum (modulo 2^64, so the order of the threads does not count).
struct FingerprintParams {
  std::uint32_t field;
  std::int64_t const* values;  ///< [count], device
  std::int64_t count;
  std::uint64_t* sum;  ///< device; the caller sets it first
};

/// output[i] = CounterRng(seed, stream_id).bits(first_index + i)
struct RandomBitsParams {
  std::uint64_t seed;
  std::uint64_t stream_id;
  std::uint64_t first_index;
  std::uint64_t* output;  ///< [count], device
  std::int64_t count;
};

/// Asynchronous in `stream`, no allocation, capturable. @throws Error{cuda} if the launch is refused.
void launch_fingerprint(FingerprintParams const& params, StreamView stream);
void launch_random_bits(RandomBitsParams const& params, StreamView stream);

}  // namespace switchyard::cuda
