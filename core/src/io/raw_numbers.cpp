// SPDX-License-Identifier: Apache-2.0
#include "raw_numbers.hpp"

#include <fmt/format.h>

#include <cstring>
#include <type_traits>

#include "switchyard/hd/convert.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::io {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the files' numbers are little-endian");

constexpr double kBeyondExact = 18014398509481984.0;  // 2^54

template <typename T>
T load_bytes(char const* data, std::size_t index) noexcept {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  return value;
}

template <typename T>
double integer_at(char const* data, std::size_t index) noexcept {
  T const value = load_bytes<T>(data, index);
  if constexpr (sizeof(T) == 8) {
    constexpr T kExact = T{1} << 53;
    if (value > kExact) return kBeyondExact;
    if constexpr (std::is_signed_v<T>)
      if (value < -kExact) return -kBeyondExact;
  }
  return static_cast<double>(value);
}

}  // namespace

std::size_t size_of(NumberType type) noexcept {
  switch (type) {
    case NumberType::i1:
    case NumberType::u1: return 1;
    case NumberType::i2:
    case NumberType::u2:
    case NumberType::f2:
    case NumberType::bf2: return 2;
    case NumberType::i4:
    case NumberType::u4:
    case NumberType::f4: return 4;
    default: return 8;
  }
}

bool is_integer(NumberType type) noexcept {
  return type < NumberType::f2;
}

double read_number(NumberType type, char const* data, std::size_t index) noexcept {
  switch (type) {
    case NumberType::i1: return integer_at<std::int8_t>(data, index);
    case NumberType::i2: return integer_at<std::int16_t>(data, index);
    case NumberType::i4: return integer_at<std::int32_t>(data, index);
    case NumberType::i8: return integer_at<std::int64_t>(data, index);
    case NumberType::u1: return integer_at<std::uint8_t>(data, index);
    case NumberType::u2: return integer_at<std::uint16_t>(data, index);
    case NumberType::u4: return integer_at<std::uint32_t>(data, index);
    case NumberType::u8: return integer_at<std::uint64_t>(data, index);
    case NumberType::f2: return static_cast<double>(hd::widen(load_bytes<f16_t>(data, index)));
    case NumberType::bf2: return static_cast<double>(hd::widen(load_bytes<bf16_t>(data, index)));
    case NumberType::f4: return static_cast<double>(load_bytes<float>(data, index));
    case NumberType::f8: return load_bytes<double>(data, index);
  }
  return 0;
}

std::string show_number(NumberType type, char const* data, std::size_t index) {
  if (type == NumberType::i8) return fmt::format("{}", load_bytes<std::int64_t>(data, index));
  if (type == NumberType::u8) return fmt::format("{}", load_bytes<std::uint64_t>(data, index));
  return fmt::format("{}", read_number(type, data, index));
}

std::uint64_t little_endian(std::string_view content, std::size_t offset, std::size_t bytes) noexcept {
  std::uint64_t value = 0;
  for (std::size_t i = bytes; i-- > 0;) value = value << 8U | static_cast<unsigned char>(content[offset + i]);
  return value;
}

void append_little_endian(std::string& out, std::uint64_t value, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) out += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
}

}  // namespace switchyard::io
