// SPDX-License-Identifier: Apache-2.0
// Fingerprints and counter-based random numbers.
//
// Worked example: SplitMix64 seeded with 0 first returns mix64(0x9e3779b97f4a7c15) = 0xe220a8397b1dcdaf.
#include <doctest/doctest.h>

#include <array>
#include <cstdint>
#include <set>
#include <vector>

#include "switchyard/hd/mix.hpp"
#include "switchyard/hd/philox.hpp"
#include "switchyard/types/counter_rng.hpp"
#include "switchyard/types/fingerprint.hpp"

namespace hd = switchyard::hd;
using switchyard::CounterRng;
using switchyard::Fingerprint;
using switchyard::FingerprintBuilder;

namespace {

void check_philox(hd::PhiloxBlock counter, hd::PhiloxKey key, std::array<std::uint32_t, 4> const& expected) {
  hd::PhiloxBlock const block = hd::philox_4x32_10(counter, key);
  for (std::size_t i = 0; i < 4; ++i) CHECK(block.word[i] == expected[i]);
}

template <typename Fill>
Fingerprint fingerprint(Fill const& fill) {
  FingerprintBuilder builder;
  fill(builder);
  return builder.result();
}

}  // namespace

TEST_CASE("Philox-4x32-10 gives the published known answers (Random123, kat_vectors)") {
  check_philox({{0, 0, 0, 0}}, {{0, 0}}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t kOnes = 0xffffffff;
  check_philox({{kOnes, kOnes, kOnes, kOnes}}, {{kOnes, kOnes}}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  check_philox({{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}}, {{0xa4093822, 0x299f31d0}},
               {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("bits(seed, stream, index) is Philox at that key and counter") {
  CHECK(CounterRng(0).bits(0) == 0xe169c58d6627e8d5u);
  CHECK(CounterRng(0x299f31d0a4093822u, 0x0370734413198a2eu).bits(0x85a308d3243f6a88u) == 0x94fdccebd16cfe09u);
  CHECK(CounterRng(7).stream(3).bits(5) == CounterRng(7, 3).bits(5));
  CHECK(CounterRng(7, 3).bits(5) != CounterRng(7, 5).bits(3));
}

TEST_CASE("below(): in range, every value met, product exact at the ends") {
  CounterRng const rng(42);
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 1000; ++i) seen.insert(rng.below(i, 10));
  CHECK(seen.size() == 10);
  CHECK(*seen.rbegin() == 9);
  for (std::uint64_t i = 0; i < 100; ++i) {
    CHECK(rng.below(i, 1) == 0);
    CHECK(rng.below(i, std::uint64_t{1} << 32) == rng.bits(i) >> 32);
    CHECK(rng.below(i, std::uint64_t{1} << 63) == rng.bits(i) >> 1);
    std::uint64_t const all = ~std::uint64_t{0};  // floor(b * (2^64 - 1) / 2^64) = b - 1 for b > 0
    CHECK(rng.below(i, all) == rng.bits(i) - 1);
  }
}

TEST_CASE("fingerprints: the mixer is SplitMix64's") {
  CHECK(hd::mix64(0x9e3779b97f4a7c15u) == 0xe220a8397b1dcdafu);
  CHECK(hd::mix64(2 * 0x9e3779b97f4a7c15u) == 0x6e789e6aa1b965f4u);
}

TEST_CASE("fingerprints: order of evaluation does not count, position and field do") {
  std::vector<std::int64_t> const values = {3, 1, 4, 1, 5};
  std::vector<std::int64_t> const swapped = {1, 3, 4, 1, 5};
  std::vector<std::int32_t> const narrow = {3, 1, 4, 1, 5};
  auto const whole = fingerprint([&](FingerprintBuilder& b) { b.add(1, std::span(values)); });
  auto const backwards = fingerprint([&](FingerprintBuilder& b) {
    for (std::size_t i = values.size(); i-- > 0;) b.add_at(1, i, values[i]);
    b.add_at(1, hd::kFingerprintLengthIndex, 5);
  });
  CHECK(whole == backwards);
  CHECK(whole == fingerprint([&](FingerprintBuilder& b) { b.add(1, std::span(narrow)); }));
  CHECK(whole != fingerprint([&](FingerprintBuilder& b) { b.add(1, std::span(swapped)); }));
  CHECK(whole != fingerprint([&](FingerprintBuilder& b) { b.add(2, std::span(values)); }));
}

TEST_CASE("fingerprints: every small triple has its own word, and lists of zeros differ by length") {
  std::set<std::uint64_t> words;
  for (std::uint32_t field = 0; field < 20; ++field)
    for (std::uint64_t index = 0; index < 20; ++index)
      for (std::int64_t value = -10; value < 10; ++value) words.insert(hd::fingerprint_word(field, index, value));
  CHECK(words.size() == 8000);
  CHECK(words.count(0) == 0);
  std::set<std::uint64_t> lists;
  for (std::size_t length = 0; length < 10; ++length) {
    std::vector<std::int64_t> const zeros(length);
    lists.insert(fingerprint([&](FingerprintBuilder& b) { b.add(1, std::span(zeros)); }).value);
  }
  CHECK(lists.size() == 10);
}

TEST_CASE("fingerprints: texts differ by every character, by length and by trailing zero") {
  std::set<std::uint64_t> seen;
  std::string const text = "switchyard plan 17";
  auto const of = [](std::string const& t) { return fingerprint([&](FingerprintBuilder& b) { b.add(9, t); }).value; };
  seen.insert(of(text));
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::string changed = text;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    seen.insert(of(changed));
  }
  seen.insert(of(text + '\0'));
  seen.insert(of(text.substr(1)));
  seen.insert(of(""));
  CHECK(seen.size() == text.size() + 4);
}

TEST_CASE("fingerprints: hexadecimal round trip and refusals") {
  Fingerprint const print{0x00000000deadBEEFu};
  CHECK(print.to_hex() == "00000000deadbeef");
  CHECK(Fingerprint::from_hex("00000000deadbeef") == print);
  CHECK(Fingerprint::from_hex("00000000DEADBEEF") == print);
  CHECK(Fingerprint::from_hex(Fingerprint{~std::uint64_t{0}}.to_hex()) == Fingerprint{~std::uint64_t{0}});
  for (char const* text :
       {"", "deadbeef", "0000000000deadbeef", "00000000deadbeeg", "0x000000deadbeef", " 0000000deadbeef"})
    CHECK_FALSE(Fingerprint::from_hex(text).has_value());
}
