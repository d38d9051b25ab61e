// SPDX-License-Identifier: Apache-2.0
#include "switchyard/types/fingerprint.hpp"

#include "switchyard/hd/mix.hpp"

namespace switchyard {

namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::size_t kHexLength = 16;
constexpr std::size_t kBytesPerWord = 8;

/// Up to eight characters as one integer, first character lowest, the same on every byte order.
std::int64_t pack_word(std::string_view text) {
  std::uint64_t word = 0;
  for (std::size_t i = text.size(); i-- > 0;) word = (word << 8) | static_cast<unsigned char>(text[i]);
  return static_cast<std::int64_t>(word);
}

template <typename T>
void add_list(FingerprintBuilder& builder, std::uint32_t field, std::span<T const> values) {
  builder.add_at(field, hd::kFingerprintLengthIndex, static_cast<std::int64_t>(values.size()));
  for (std::size_t i = 0; i < values.size(); ++i) builder.add_at(field, i, values[i]);
}

}  // namespace

std::string Fingerprint::to_hex() const {
  std::string text(kHexLength, '0');
  for (std::size_t i = 0; i < kHexLength; ++i) text[i] = kHexDigits[(value >> (60 - 4 * i)) & 0xf];
  return text;
}

std::optional<Fingerprint> Fingerprint::from_hex(std::string_view text) noexcept {
  if (text.size() != kHexLength) return std::nullopt;
  std::uint64_t value = 0;
  for (char const c : text) {
    std::size_t const digit = kHexDigits.find(c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c);
    if (digit == std::string_view::npos) return std::nullopt;
    value = (value << 4) | digit;
  }
  return Fingerprint{value};
}

void FingerprintBuilder::add(std::uint32_t field, std::span<std::int64_t const> values) {
  add_list(*this, field, values);
}

void FingerprintBuilder::add(std::uint32_t field, std::span<std::int32_t const> values) {
  add_list(*this, field, values);
}

void FingerprintBuilder::add_at(std::uint32_t field, std::uint64_t index, std::int64_t value) {
  sum_ += hd::fingerprint_word(field, index, value);
}

void FingerprintBuilder::add(std::uint32_t field, std::string_view text) {
  add_at(field, hd::kFingerprintLengthIndex, static_cast<std::int64_t>(text.size()));
  for (std::size_t begin = 0, word = 0; begin < text.size(); begin += kBytesPerWord, ++word)
    add_at(field, word, pack_word(text.substr(begin, kBytesPerWord)));
}

}  // namespace switchyard
