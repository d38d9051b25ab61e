// SPDX-License-Identifier: Apache-2.0
#include <cstring>

#include "load_formats.hpp"
#include "npy_header.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::io {
namespace {

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "npy elements are little-endian");

/// @return element `index` as double; integers beyond 2^53 come out above kMaxLoad or at it only when exact.
template <typename T>
double element(char const* data, std::size_t index) {
  T value;
  std::memcpy(&value, data + index * sizeof(T), sizeof(T));
  if constexpr (std::is_integral_v<T> && sizeof(T) == 8) {
    constexpr T kExact = T{1} << 53;
    if (value > kExact) return 2 * kMaxLoad;  // converting could round down to the limit
  }
  return static_cast<double>(value);
}

using ElementReader = double (*)(char const*, std::size_t);

ElementReader reader_of(NpyType type) {
  switch (type) {
    case NpyType::i1: return element<std::int8_t>;
    case NpyType::i2: return element<std::int16_t>;
    case NpyType::i4: return element<std::int32_t>;
    case NpyType::i8: return element<std::int64_t>;
    case NpyType::u1: return element<std::uint8_t>;
    case NpyType::u2: return element<std::uint16_t>;
    case NpyType::u4: return element<std::uint32_t>;
    case NpyType::u8: return element<std::uint64_t>;
    case NpyType::f4: return element<float>;
    case NpyType::f8: return element<double>;
  }
  return element<double>;
}

template <typename T>
std::string spell(char const* data) {
  T value;
  std::memcpy(&value, data, sizeof(T));
  return fmt::format("{}", value);
}

/// @return the element as it stands in the file, for messages.
std::string show_element(NpyType type, char const* data, std::size_t index) {
  char const* const at = data + index * size_of(type);
  if (type == NpyType::i8) return spell<std::int64_t>(at);
  if (type == NpyType::u8) return spell<std::uint64_t>(at);
  return fmt::format("{}", reader_of(type)(data, index));
}

[[noreturn]] void refuse_element(LoadText const& text, NpyHeader const& header, std::size_t index) {
  auto const experts = static_cast<std::size_t>(header.shape.back());
  auto const layers = static_cast<std::size_t>(header.shape[header.shape.size() - 2]);
  char const* const data = text.content.data() + header.data_offset;
  throw_error(ErrorCode::parse, fmt::format("{}: byte {}: step {}, layer {}, expert {}: found {}, {}", text.name,
                                            header.data_offset + index * size_of(header.type), index / experts / layers,
                                            index / experts % layers, index % experts,
                                            show_element(header.type, data, index), kLoadRule));
}

}  // namespace

LoadReadResult parse_npy_load(LoadText const& text) {
  NpyHeader const header = parse_npy_header(text.content, text.name);
  std::size_t const dimensions = header.shape.size();
  SWITCHYARD_REQUIRE(dimensions == 2 || dimensions == 3, parse,
                     "{}: {} dimensions ({}), [layers][experts] or [steps][layers][experts] is required", text.name,
                     dimensions, fmt::join(header.shape, ", "));
  std::int64_t const steps = dimensions == 3 ? header.shape[0] : 1;
  std::int64_t const layers = header.shape[dimensions - 2];
  std::int64_t const experts = header.shape[dimensions - 1];
  require_load_sizes(text, steps, layers, experts);
  std::vector<double> values(static_cast<std::size_t>(header.num_elements));
  ElementReader const read = reader_of(header.type);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = read(text.content.data() + header.data_offset, i);
    if (!is_load(values[i])) refuse_element(text, header, i);
  }
  LoadReadResult result;
  result.format = LoadFormat::npy;
  result.load =
      ExpertLoad(static_cast<int>(steps), static_cast<int>(layers), static_cast<int>(experts), std::move(values));
  return result;
}

}  // namespace switchyard::io
