// SPDX-License-Identifier: Apache-2.0
/// TorchFile: the values and tensors of a file that torch.save wrote, read without torch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "pickle.hpp"
#include "raw_numbers.hpp"
#include "stored_zip.hpp"

namespace switchyard::io {

/// A tensor inside the file; elements are read through its strides.
struct TorchTensor {
  NumberType type = NumberType::i8;
  std::string_view storage{};      ///< the raw bytes that it is a view of
  std::size_t storage_offset = 0;  ///< of the bytes in the file
  std::int64_t first = 0;          ///< element of the storage
  std::vector<std::int64_t> shape{};
  std::vector<std::int64_t> strides{};  ///< in elements
  std::int64_t num_elements = 1;

  /// @return the place of element `index` (row-major) in the storage, in elements.
  [[nodiscard]] std::size_t place_of(std::int64_t index) const;
};

class TorchFile {
 public:
  /// @throws Error{parse} as parse_stored_zip and Pickle, and when the archive has no data.pkl or is big-endian.
  TorchFile(std::string_view content, std::string source_name);

  [[nodiscard]] Pickle const& pickle() const { return *pickle_; }
  /// @return the tensor at a node. @throws Error{parse} if it is none, has a type that holds no plain numbers, or
  /// leaves its storage; a tensor never has more elements than its storage.
  [[nodiscard]] TorchTensor tensor(std::uint32_t id, std::string const& path) const;

 private:
  [[nodiscard]] ZipEntry const* entry(std::string_view name) const;
  void read_extents(std::uint32_t id, std::string const& path, TorchTensor& tensor) const;

  std::string name_;
  std::vector<ZipEntry> entries_;  // by name
  std::string prefix_;             // "archive/"
  std::optional<Pickle> pickle_;
};

}  // namespace switchyard::io
