// SPDX-License-Identifier: Apache-2.0
/// byte_checksum: the 64-bit checksum that travels with messages and expert rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace switchyard::internal {

/// Sum modulo 2^64 of one mixed word per 8 bytes (little endian, the last word zero-padded) and one for the length.
/// The word's position is mixed in, so order counts, but the sum may be formed in any order, by a kernel too. Each
/// mixed word is a bijection of its 8 bytes: damage inside one aligned 8-byte word is always detected, other damage
/// with probability 1 - 2^-64 for accidental errors. Not cryptographic. Pure; O(bytes).
[[nodiscard]] std::uint64_t byte_checksum(std::span<std::byte const> bytes) noexcept;

}  // namespace switchyard::internal
