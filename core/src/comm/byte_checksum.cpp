// SPDX-License-Identifier: Apache-2.0
#include "switchyard/internal/byte_checksum.hpp"

#include <cstring>

#include "switchyard/hd/checksum_word.hpp"

namespace switchyard::internal {
namespace {

std::uint64_t load_word(std::byte const* from, std::size_t count) noexcept {
  std::uint64_t word = 0;
  std::memcpy(&word, from, count);
  return word;
}

}  // namespace

std::uint64_t byte_checksum(std::span<std::byte const> bytes) noexcept {
  constexpr std::size_t kWord = sizeof(std::uint64_t);
  std::size_t const whole = bytes.size() / kWord;
  std::uint64_t sum = hd::mix64(bytes.size());
  for (std::size_t i = 0; i < whole; ++i) sum += hd::checksum_word(i, load_word(bytes.data() + i * kWord, kWord));
  std::size_t const rest = bytes.size() % kWord;
  if (rest != 0) sum += hd::checksum_word(whole, load_word(bytes.data() + whole * kWord, rest));
  return sum;
}

}  // namespace switchyard::internal
