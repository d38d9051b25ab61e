// SPDX-License-Identifier: Apache-2.0
/// Counter-based random numbers: the value at (seed, stream, index) is a pure function, equal in C++ and CUDA.
#pragma once

#include <cstdint>

namespace switchyard {

/// Philox-4x32-10 keyed by `seed`, counter = (stream, index). Integer operations only.
/// @note pure; thread-safe. Source: Salmon et al., SC'11; the inline form shared with kernels is hd/philox.hpp.
class CounterRng {
 public:
  explicit CounterRng(std::uint64_t seed, std::uint64_t stream = 0) noexcept : seed_(seed), stream_(stream) {}

  /// @return 64 uniform bits for `index`.
  [[nodiscard]] std::uint64_t bits(std::uint64_t index) const noexcept;
  /// @return a uniform integer in [0, bound), by the multiply-high method (bias below bound / 2^64). bound > 0.
  [[nodiscard]] std::uint64_t below(std::uint64_t index, std::uint64_t bound) const noexcept;
  /// @return the generator of another stream under the same seed.
  [[nodiscard]] CounterRng stream(std::uint64_t stream) const noexcept { return CounterRng(seed_, stream); }

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
};

}  // namespace switchyard
