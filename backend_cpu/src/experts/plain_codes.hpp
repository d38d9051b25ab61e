// SPDX-License-Identifier: Apache-2.0
/// PlainCodes: codes of values among which there is no NaN, and that their factors leave finite: nearly all there are.
/// They need no care about special values, so their loops are shorter than those over hd::encode and give the same
/// codes; tests compare the two.
///
/// Kept apart from the quantisers' other loops because fused operations are used here, and only where they cannot be
/// seen: on products that are exact, and in a division whose result is the correctly rounded quotient.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/types/dtype.hpp"
#include "switchyard/types/quant_scheme.hpp"

namespace switchyard::cpu {

/// `groups` groups of `size` values next to each other; group g has factors[g], finite and without a sign.
struct PlainCodes {
  QuantScheme scheme;
  DType dtype;  ///< f32 or bf16
  void const* values;
  std::int64_t groups;
  std::int64_t size;         ///< even, unless there is one group only
  float const* factors;      ///< see hd::encode
  float const* inverses;     ///< 1 / factors[g], rounded once; read by schemes that divide
  std::byte* codes;          ///< packed
  std::int64_t bytes_ahead;  ///< from a value to one that will be read next and may not be in a cache yet
};

/// Largest bit pattern without its sign of each of `groups` groups of `size` values, as a float's bits: above infinity
/// where a group holds a NaN.
struct LargestBits {
  DType dtype;  ///< f32 or bf16
  void const* values;
  std::int64_t groups;
  std::int64_t size;
  std::uint32_t* largest;
};

/// Whether PlainCodes takes a factor: neither negative nor infinite nor a NaN.
[[nodiscard]] constexpr bool is_plain_factor(std::uint32_t factor_bits) noexcept {
  return factor_bits < 0x7f800000u;
}

#if defined(SWITCHYARD_TARGET)
namespace SWITCHYARD_TARGET {
void encode_plain(PlainCodes const& task);
void find_largest(LargestBits const& task);
}  // namespace SWITCHYARD_TARGET
#endif

}  // namespace switchyard::cpu
