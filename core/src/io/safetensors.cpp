// SPDX-License-Identifier: Apache-2.0
#include "safetensors.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::size_t kMaxHeaderBytes = std::size_t{64} << 20;

constexpr std::array<std::pair<std::string_view, NumberType>, 12> kTypes = {{{"I8", NumberType::i1},
                                                                             {"I16", NumberType::i2},
                                                                             {"I32", NumberType::i4},
                                                                             {"I64", NumberType::i8},
                                                                             {"U8", NumberType::u1},
                                                                             {"U16", NumberType::u2},
                                                                             {"U32", NumberType::u4},
                                                                             {"U64", NumberType::u8},
                                                                             {"F16", NumberType::f2},
                                                                             {"BF16", NumberType::bf2},
                                                                             {"F32", NumberType::f4},
                                                                             {"F64", NumberType::f8}}};

NumberType read_type(JsonValue const& value) {
  std::string const name = value.as_string();
  for (auto const& [spelled, type] : kTypes)
    if (spelled == name) return type;
  value.fail("a type of I8 I16 I32 I64 U8 U16 U32 U64 F16 BF16 F32 F64 is required");
}

/// Fills shape and num_elements. @return the bytes that the tensor takes.
std::int64_t read_shape(JsonValue const& shape, SafeTensor& tensor) {
  if (shape.array_size() > 8) shape.fail("at most 8 dimensions are read");
  tensor.shape = shape.int_array(0, std::int64_t{1} << 40);
  std::int64_t elements = 1;
  std::int64_t bytes = 0;
  bool overflows = false;
  for (std::int64_t const extent : tensor.shape)
    overflows = overflows || __builtin_mul_overflow(elements, extent, &elements);
  if (overflows || __builtin_mul_overflow(elements, static_cast<std::int64_t>(size_of(tensor.type)), &bytes))
    shape.fail("the number of bytes overflows 63 bits");
  tensor.num_elements = to_size(elements);
  return bytes;
}

/// @param data_bytes what follows the header.
SafeTensor read_tensor(JsonValue const& value, std::string name, std::int64_t data_bytes) {
  SafeTensor tensor;
  tensor.name = std::move(name);
  value.only_members({"dtype", "shape", "data_offsets"});
  tensor.type = read_type(value.at("dtype"));
  std::int64_t const bytes = read_shape(value.at("shape"), tensor);
  JsonValue const offsets = value.at("data_offsets");
  offsets.array_size(2);
  std::int64_t const begin = offsets.at(std::size_t{0}).as_int(0, data_bytes);
  std::int64_t const end = offsets.at(std::size_t{1}).as_int(begin, data_bytes);
  if (end - begin != bytes)
    offsets.fail(fmt::format("{} bytes lie between the offsets, the shape and type need {}", end - begin, bytes));
  tensor.data_offset = to_size(begin);
  return tensor;
}

void require_tiling(std::vector<SafeTensor>& tensors, std::size_t data_bytes, std::string const& name) {
  auto const bytes_of = [](SafeTensor const& tensor) { return tensor.num_elements * size_of(tensor.type); };
  std::stable_sort(tensors.begin(), tensors.end(), [&](SafeTensor const& a, SafeTensor const& b) {
    return std::pair(a.data_offset, bytes_of(a)) < std::pair(b.data_offset, bytes_of(b));
  });
  std::size_t expected = 0;
  for (SafeTensor const& tensor : tensors) {
    SWITCHYARD_REQUIRE(tensor.data_offset == expected, parse,
                       "{}: data byte {}: tensor {} begins at {}, the one before it ends at {}: tensors must neither "
                       "overlap nor leave a hole",
                       name, tensor.data_offset, excerpt(tensor.name), tensor.data_offset, expected);
    expected += bytes_of(tensor);
  }
  SWITCHYARD_REQUIRE(expected == data_bytes, parse,
                     "{}: data byte {}: the tensors end here, the file has {} bytes of data: is it cut off or damaged?",
                     name, expected, data_bytes);
}

std::size_t header_length(std::string_view content, std::string const& name) {
  SWITCHYARD_REQUIRE(content.size() >= kLengthBytes, parse,
                     "{}: byte {}: the file ends inside the header length, 8 bytes are required: is it cut off?", name,
                     content.size());
  std::uint64_t const length = little_endian(content, 0, kLengthBytes);
  SWITCHYARD_REQUIRE(length <= kMaxHeaderBytes && length <= content.size() - kLengthBytes, parse,
                     "{}: byte 0: the header is said to have {} bytes, {} follow and the limit is {}: is the file cut "
                     "off or no safetensors file?",
                     name, length, content.size() - kLengthBytes, kMaxHeaderBytes);
  return to_size(length);
}

}  // namespace

std::vector<SafeTensor> parse_safetensors(std::string_view content, std::string const& source_name) {
  std::size_t const length = header_length(content, source_name);
  std::size_t const data_start = kLengthBytes + length;
  JsonDocument const header =
      JsonDocument::parse(content.substr(kLengthBytes, length), source_name, {}, {kLengthBytes, 1});
  JsonValue const root = header.root();
  std::vector<SafeTensor> tensors;
  for (std::string const& name : root.keys()) {
    if (name == "__metadata__") continue;
    tensors.push_back(read_tensor(root.at(name), name, static_cast<std::int64_t>(content.size() - data_start)));
  }
  require_tiling(tensors, content.size() - data_start, source_name);
  for (SafeTensor& tensor : tensors) tensor.data_offset += data_start;
  return tensors;
}

bool looks_like_safetensors(std::string_view content) noexcept {
  return content.size() > kLengthBytes && content[kLengthBytes] == '{' &&
         little_endian(content, 0, kLengthBytes) <= kMaxHeaderBytes && content[kLengthBytes - 1] == '\0';
}

std::string write_safetensors(std::vector<IntegerTensor> const& tensors) {
  std::string header = "{";
  std::string data;
  for (IntegerTensor const& tensor : tensors) {
    std::size_t const begin = data.size();
    for (std::int64_t const value : tensor.values) append_little_endian(data, static_cast<std::uint64_t>(value), 8);
    header += fmt::format(R"({}"{}":{{"dtype":"I64","shape":[{}],"data_offsets":[{},{}]}})",
                          header.size() == 1 ? "" : ",", tensor.name, tensor.values.size(), begin, data.size());
  }
  header += '}';
  header.append((8 - header.size() % 8) % 8, ' ');  // data aligned to 8 bytes, as the format's own writer does
  std::string file;
  append_little_endian(file, header.size(), kLengthBytes);
  return file + header + data;
}

}  // namespace switchyard::io
