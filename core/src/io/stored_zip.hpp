// SPDX-License-Identifier: Apache-2.0
/// Zip archives whose entries are stored without compression, as torch.save writes them. Nothing is copied.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::io {

struct ZipEntry {
  std::string_view name;
  std::string_view data;
  std::size_t offset = 0;  ///< of the data in the file
};

/// @return the entries of the central directory, in its order. @throws Error{parse} naming the byte for a directory
/// that is missing, cut off or out of bounds, for compressed or encrypted entries, for names that differ between
/// directory and entry or appear twice, and for content that does not match its checksum.
[[nodiscard]] std::vector<ZipEntry> parse_stored_zip(std::string_view content, std::string const& source_name);

/// @return the CRC-32 of zip files (polynomial 0xedb88320, reflected).
[[nodiscard]] std::uint32_t zip_crc32(std::string_view bytes) noexcept;

}  // namespace switchyard::io
