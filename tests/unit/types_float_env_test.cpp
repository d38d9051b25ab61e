// SPDX-License-Identifier: Apache-2.0
// FloatEnvGuard: a caller's rounding mode and flush-to-zero change no bit inside the guard, and are back afterwards.
//
// Worked example: 2^-130 * 1 + 0 is 2^-130, a subnormal; under flush-to-zero it is 0. 1 + 2^-24 rounds to 1; rounding
// upward it is 1 + 2^-23.
#include <doctest/doctest.h>

#include <cfenv>
#include <cstring>
#include <vector>

#include "switchyard/hd/combine_step.hpp"
#include "switchyard/hd/elementary.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/hd/philox.hpp"

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace hd = switchyard::hd;

namespace {

constexpr std::int64_t kColumns = 700;

/// Combined rows whose terms are subnormal, tiny or need rounding, then elementary results, as one list of bit
/// patterns.
std::vector<std::uint32_t> compute() {
  std::vector<float> rows(4 * kColumns);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    auto const random = static_cast<std::uint32_t>(hd::philox_bits(11, 0, i));
    rows[i] = hd::bits_to<float>((random & 0x80ffffffu) | (i % 2 == 0 ? 0u : 0x3f000000u));
  }
  std::vector<std::int64_t> const token_rows = {2, 0, 3, 1};
  std::vector<float> const weights = {0.3f, 0.7f, 0x1p-3f, 1.0f};
  std::vector<float> combined(kColumns);
  hd::combine_row(rows.data(), kColumns, kColumns, token_rows.data(), weights.data(), 4, combined.data());
  for (int i = 1; i < 100; ++i) combined.push_back(static_cast<float>(hd::exp(-i * 0.37)));
  std::vector<std::uint32_t> bits(combined.size());
  std::memcpy(bits.data(), combined.data(), bits.size() * sizeof(float));
  return bits;
}

std::vector<std::uint32_t> compute_guarded() {
  hd::FloatEnvGuard const guard;
  return compute();
}

}  // namespace

TEST_CASE("upward rounding outside changes nothing inside, and is restored") {
  std::vector<std::uint32_t> const expected = compute();
  std::fesetround(FE_UPWARD);
  std::vector<std::uint32_t> const unguarded = compute();
  std::vector<std::uint32_t> const guarded = compute_guarded();
  int const rounding_after = std::fegetround();
  std::fesetround(FE_TONEAREST);
  CHECK(guarded == expected);
  CHECK(unguarded != expected);  // otherwise the data could not show a difference
  CHECK(rounding_after == FE_UPWARD);
}

#if defined(__x86_64__)
TEST_CASE("FTZ and DAZ outside change nothing inside, and are restored") {
  constexpr unsigned kFlushBits = 0x8040;
  std::vector<std::uint32_t> const expected = compute();
  unsigned const before = _mm_getcsr();
  _mm_setcsr(before | kFlushBits);
  std::vector<std::uint32_t> const unguarded = compute();
  std::vector<std::uint32_t> const guarded = compute_guarded();
  unsigned const after = _mm_getcsr();
  _mm_setcsr(before);
  CHECK(guarded == expected);
  CHECK(unguarded != expected);
  CHECK((after & kFlushBits) == kFlushBits);
}

TEST_CASE("guards nest") {
  unsigned const before = _mm_getcsr();
  {
    hd::FloatEnvGuard const outer;
    std::fesetround(FE_DOWNWARD);
    CHECK(std::fegetround() == FE_DOWNWARD);
    {
      hd::FloatEnvGuard const inner;
      CHECK(std::fegetround() == FE_TONEAREST);
    }
    CHECK(std::fegetround() == FE_DOWNWARD);
  }
  CHECK((_mm_getcsr() & 0xffc0u) == (before & 0xffc0u));  // control bits; the rest are sticky exception flags
}
#endif
