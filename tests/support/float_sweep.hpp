// SPDX-License-Identifier: Apache-2.0
/// Runs a comparison over float bit patterns: all boundary neighbourhoods plus a strided sweep, or all 2^32 of them.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

namespace support {

struct SweepResult {
  std::uint64_t tried = 0;
  std::uint64_t mismatches = 0;
  std::uint32_t first_mismatch = 0;
};

inline bool exhaustive_requested() {
  char const* const value = std::getenv("SWITCHYARD_EXHAUSTIVE");
  return value != nullptr && std::string_view(value) == "1";
}

/// Calls `agrees(bits)` for bit patterns in mostly ascending order. `boundaries` are magnitudes around which 33
/// patterns of both signs are tried; the stride is odd, so that all low bits are visited.
template <typename Agrees>
SweepResult sweep_floats(std::vector<std::uint32_t> const& boundaries, Agrees const& agrees) {
  SweepResult result;
  auto const visit = [&](std::uint32_t bits) {
    ++result.tried;
    if (!agrees(bits) && result.mismatches++ == 0) result.first_mismatch = bits;
  };
  std::uint64_t const stride = exhaustive_requested() ? 1 : 997;
  for (std::uint64_t bits = 0; bits < (std::uint64_t{1} << 32); bits += stride) visit(static_cast<std::uint32_t>(bits));
  for (std::uint32_t const sign : {0u, 0x80000000u})
    for (std::uint32_t const boundary : boundaries)
      for (std::uint32_t offset = 0; offset <= 32; ++offset) visit(((boundary + offset - 16) & 0x7fffffffu) | sign);
  return result;
}

}  // namespace support
