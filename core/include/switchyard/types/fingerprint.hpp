// SPDX-License-Identifier: Apache-2.0
/// Fingerprint: a 64-bit digest of a plan's integers that a kernel can compute as well as a host.
///
/// Every value enters as mix(field, index, value), and the mixed words are summed modulo 2^64. The sum does not depend
/// on the order of evaluation, so any number of threads, a CUDA grid and a sequential loop give the same digest, while
/// the position of every value still counts because the index is mixed in. Not cryptographic: it guards against
/// accidents and version skew, not against an adversary.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace switchyard {

struct Fingerprint {
  std::uint64_t value = 0;
  friend constexpr bool operator==(Fingerprint, Fingerprint) = default;
  /// @return 16 lower-case hexadecimal digits.
  [[nodiscard]] std::string to_hex() const;
  /// @return the fingerprint of exactly 16 hexadecimal digits, or nothing.
  [[nodiscard]] static std::optional<Fingerprint> from_hex(std::string_view text) noexcept;
};

/// Accumulates a fingerprint field by field. Field numbers are part of a type's format: never reuse one.
class FingerprintBuilder {
 public:
  /// Adds one integer of `field`.
  void add(std::uint32_t field, std::int64_t value) { add_at(field, 0, value); }
  /// Adds a list: its length, then every element with its index.
  void add(std::uint32_t field, std::span<std::int64_t const> values);
  void add(std::uint32_t field, std::span<std::int32_t const> values);
  /// Adds the element `index` of a list (callers that hold no contiguous list of integers).
  void add_at(std::uint32_t field, std::uint64_t index, std::int64_t value);
  void add(std::uint32_t field, std::string_view text);

  [[nodiscard]] Fingerprint result() const noexcept { return Fingerprint{sum_}; }

 private:
  std::uint64_t sum_ = 0;
};

}  // namespace switchyard
