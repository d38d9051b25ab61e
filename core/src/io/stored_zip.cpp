// SPDX-License-Identifier: Apache-2.0
#include "stored_zip.hpp"

#include <algorithm>
#include <array>

#include "raw_numbers.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

constexpr std::size_t kEndBytes = 22;      // end of central directory, without a comment
constexpr std::size_t kCentralBytes = 46;  // fixed part of a directory entry
constexpr std::size_t kLocalBytes = 30;    // fixed part of an entry's own header
constexpr std::string_view kEndMark("PK\x05\x06", 4);
constexpr std::string_view kCentralMark("PK\x01\x02", 4);
constexpr std::string_view kLocalMark("PK\x03\x04", 4);
constexpr unsigned kEncrypted = 1;
constexpr std::uint64_t kMax16 = 0xffff;
constexpr std::uint64_t kMax32 = 0xffffffff;

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value & 1U) != 0 ? 0xedb88320U ^ value >> 1U : value >> 1U;
    table[i] = value;
  }
  return table;
}

class ZipReader {
 public:
  ZipReader(std::string_view content, std::string const& name) : content_(content), name_(name) {}

  std::vector<ZipEntry> read() {
    std::uint64_t const entries = read_end();
    std::vector<ZipEntry> list;
    for (std::uint64_t i = 0; i < entries; ++i) list.push_back(read_central());
    auto names = list;
    std::sort(names.begin(), names.end(), [](auto& a, auto& b) { return a.name < b.name; });
    auto const twice =
        std::adjacent_find(names.begin(), names.end(), [](auto& a, auto& b) { return a.name == b.name; });
    if (twice != names.end()) fail(twice->offset, fmt::format("two entries are called '{}'", excerpt(twice->name)));
    return list;
  }

 private:
  [[noreturn]] void fail(std::size_t offset, std::string const& problem) const {
    throw_error(ErrorCode::parse, fmt::format("{}: byte {}: zip archive: {}", name_, offset, problem));
  }
  [[nodiscard]] std::uint64_t number(std::size_t offset, std::size_t bytes) const {
    return little_endian(content_, offset, bytes);
  }
  void require_bytes(std::size_t offset, std::uint64_t bytes, std::string_view what) const {
    if (offset > content_.size() || bytes > content_.size() - offset)
      fail(offset, fmt::format("{} leaves the file, which has {} bytes", what, content_.size()));
  }

  /// @return the number of entries; position_ is then the first one's.
  std::uint64_t read_end() {
    require_bytes(0, kEndBytes, "the end of the directory");
    std::size_t const end = content_.size() - kEndBytes;
    if (content_.substr(end, 4) != kEndMark)
      fail(end, "the end of the directory must be the end of the file: is the file cut off?");
    std::uint64_t const entries = number(end + 10, 2);
    std::uint64_t const offset = number(end + 16, 4);
    if (entries == kMax16 || offset == kMax32) fail(end, "archives above 4 GiB or 65,534 entries are not read");
    if (number(end + 4, 4) != 0 || number(end + 8, 2) != entries) fail(end, "archives in several parts are not read");
    position_ = offset;
    return entries;
  }

  ZipEntry read_central() {
    std::size_t const at = position_;
    require_bytes(at, kCentralBytes, "a directory entry");
    if (content_.substr(at, 4) != kCentralMark) fail(at, "a directory entry is required here");
    std::uint64_t const name_bytes = number(at + 28, 2);
    std::uint64_t const bytes = kCentralBytes + name_bytes + number(at + 30, 2) + number(at + 32, 2);
    require_bytes(at, bytes, "a directory entry");
    position_ = at + bytes;
    ZipEntry entry;
    entry.name = content_.substr(at + kCentralBytes, name_bytes);
    read_local(at, entry);
    return entry;
  }

  void read_local(std::size_t central, ZipEntry& entry) const {
    if ((number(central + 8, 2) & kEncrypted) != 0) fail(central, "encrypted entries are not read");
    if (number(central + 10, 2) != 0)
      fail(central, fmt::format("'{}' is compressed: give the file as torch.save wrote it", excerpt(entry.name)));
    std::uint64_t const size = number(central + 24, 4);
    std::size_t const local = number(central + 42, 4);
    if (number(central + 20, 4) != size || size == kMax32) fail(central, "a stored entry has one size below 4 GiB");
    require_bytes(local, kLocalBytes, "an entry");
    std::uint64_t const name_bytes = number(local + 26, 2);
    std::uint64_t const header_bytes = kLocalBytes + name_bytes + number(local + 28, 2);
    require_bytes(local, header_bytes + size, fmt::format("'{}'", excerpt(entry.name)));
    if (content_.substr(local, 4) != kLocalMark || content_.substr(local + kLocalBytes, name_bytes) != entry.name)
      fail(local, fmt::format("the entry '{}' is required here", excerpt(entry.name)));
    entry.offset = local + header_bytes;
    entry.data = content_.substr(entry.offset, size);
    if (zip_crc32(entry.data) != number(central + 16, 4))
      fail(entry.offset, fmt::format("the content of '{}' does not match its checksum", excerpt(entry.name)));
  }

  std::string_view content_;
  std::string const& name_;
  std::size_t position_ = 0;
};

}  // namespace

std::vector<ZipEntry> parse_stored_zip(std::string_view content, std::string const& source_name) {
  return ZipReader(content, source_name).read();
}

std::uint32_t zip_crc32(std::string_view bytes) noexcept {
  static constexpr std::array<std::uint32_t, 256> kTable = make_crc_table();
  std::uint32_t crc = 0xffffffffU;
  for (char const byte : bytes) crc = kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xffU] ^ crc >> 8U;
  return ~crc;
}

}  // namespace switchyard::io
