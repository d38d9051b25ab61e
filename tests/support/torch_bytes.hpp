// SPDX-License-Identifier: Apache-2.0
/// Writes torch.save files by hand, well-formed or not: stored zip entries, pickle opcodes, raw storages. Independent
/// of the readers under test.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace support {

inline std::string little(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xffU);
  return out;
}

/// Bit by bit, unlike the table of the reader.
inline std::uint32_t crc_of(std::string_view bytes) {
  std::uint32_t crc = 0xffffffffU;
  for (char const byte : bytes) {
    crc ^= static_cast<unsigned char>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1U) != 0 ? (crc >> 1U) ^ 0xedb88320U : crc >> 1U;
  }
  return ~crc;
}

struct ZipPart {
  std::string name;
  std::string data;
};

/// @param method 0 = stored.
inline std::string zip_bytes(std::vector<ZipPart> const& parts, unsigned method = 0) {
  std::string file;
  std::string directory;
  for (ZipPart const& part : parts) {
    std::string const sizes = little(crc_of(part.data), 4) + little(part.data.size(), 4) + little(part.data.size(), 4);
    std::string const common = little(0, 2) + little(method, 2) + little(0, 4) + sizes + little(part.name.size(), 2);
    directory += "PK\x01\x02" + little(20, 2) + little(20, 2) + common + little(0, 2) + little(0, 2) + little(0, 8) +
                 little(file.size(), 4) + part.name;
    file += "PK\x03\x04" + little(20, 2) + common + little(4, 2) + part.name + little(0, 4) + part.data;
  }
  std::string const counts = little(parts.size(), 2) + little(parts.size(), 2);
  return file + directory + "PK\x05\x06" + little(0, 4) + counts + little(directory.size(), 4) +
         little(file.size(), 4) + little(0, 2);
}

/// Pickle opcodes of protocol 2, as Python's pickler spells them.
inline std::string pickle_program(std::string const& body) {
  return "\x80\x02" + body + ".";
}
inline std::string pickle_text(std::string_view text) {
  return std::string("X") + little(text.size(), 4) + std::string(text);
}
inline std::string pickle_int(std::int64_t value) {
  return std::string("J") + little(static_cast<std::uint64_t>(value), 4);
}
inline std::string pickle_tuple(std::vector<std::int64_t> const& values) {
  std::string out = "(";
  for (std::int64_t const value : values) out += pickle_int(value);
  return out + "t";
}
/// @param pairs keys and values, both pickled.
inline std::string pickle_dict(std::vector<std::pair<std::string, std::string>> const& pairs) {
  std::string out = "}(";
  for (auto const& [key, value] : pairs) out += pickle_text(key) + value;
  return out + "u";
}
inline std::string pickle_list(std::vector<std::string> const& values) {
  std::string out = "](";
  for (auto const& value : values) out += value;
  return out + "e";
}

struct PickledTensor {
  std::string storage_type = "IntStorage";
  std::string key = "0";
  std::int64_t held = 0;  ///< elements of the storage, as stated
  std::int64_t first = 0;
  std::vector<std::int64_t> shape{};
  std::vector<std::int64_t> strides{};  ///< empty = contiguous
};

inline std::string pickle_tensor(PickledTensor tensor) {
  if (tensor.strides.empty()) {
    tensor.strides.assign(tensor.shape.size(), 1);
    for (std::size_t d = tensor.shape.size(); d-- > 1;) tensor.strides[d - 1] = tensor.strides[d] * tensor.shape[d];
  }
  return "ctorch._utils\n_rebuild_tensor_v2\n((" + pickle_text("storage") + "ctorch\n" + tensor.storage_type + "\n" +
         pickle_text(tensor.key) + pickle_text("cpu") + pickle_int(tensor.held) + "tQ" + pickle_int(tensor.first) +
         pickle_tuple(tensor.shape) + pickle_tuple(tensor.strides) + "\x89" + "ccollections\nOrderedDict\n)RtR";
}

/// @param storages data/0, data/1, ...
inline std::string torch_file(std::string const& program, std::vector<std::string> const& storages) {
  std::vector<ZipPart> parts{{"archive/data.pkl", program}, {"archive/byteorder", "little"}};
  for (std::size_t i = 0; i < storages.size(); ++i) parts.push_back({"archive/data/" + std::to_string(i), storages[i]});
  parts.push_back({"archive/version", "3\n"});
  return zip_bytes(parts);
}

/// @return the elements as int32.
inline std::string int32_bytes(std::vector<std::int32_t> const& values) {
  std::string bytes;
  for (std::int32_t const value : values) bytes += little(static_cast<std::uint32_t>(value), 4);
  return bytes;
}

/// A recording of SGLang's `stat` mode: [steps][layers][experts].
inline std::string sglang_stat_file(std::vector<std::int64_t> const& shape, std::vector<std::int32_t> const& counts) {
  auto const held = static_cast<std::int64_t>(counts.size());
  std::string const tensor = pickle_tensor({.held = held, .shape = shape});
  std::string const program = pickle_program(pickle_dict({{"rank", std::string("K") + little(0, 1)},
                                                          {"logical_count", tensor},
                                                          {"average_utilization_rate_over_window", "N"}}));
  return torch_file(program, {int32_bytes(counts)});
}

}  // namespace support
