// SPDX-License-Identifier: Apache-2.0
#include "npy_header.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "switchyard/internal/require.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

struct TypeName {
  std::string_view spelled;
  NumberType type;
};
// One-byte types have no byte order; NumPy writes "|".
constexpr std::array<TypeName, 13> kTypes = {{{"<i4", NumberType::i4},
                                              {"<i8", NumberType::i8},
                                              {"<u4", NumberType::u4},
                                              {"<u8", NumberType::u8},
                                              {"<f4", NumberType::f4},
                                              {"<f8", NumberType::f8},
                                              {"<f2", NumberType::f2},
                                              {"<i2", NumberType::i2},
                                              {"<u2", NumberType::u2},
                                              {"|i1", NumberType::i1},
                                              {"|u1", NumberType::u1},
                                              {"<i1", NumberType::i1},
                                              {"<u1", NumberType::u1}}};

constexpr std::string_view kMagic("\x93NUMPY", 6);

/// Reads the header's Python dictionary literal: exactly the keys descr, fortran_order and shape, each once.
class DictReader {
 public:
  DictReader(std::string_view content, std::size_t begin, std::size_t end, std::string const& name)
      : content_(content.substr(0, end)), position_(begin), name_(name) {}

  void read_into(NpyHeader& header) {
    expect('{');
    while (!accept('}')) {
      read_entry(header);
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_blank();
    if (position_ != content_.size()) fail("only blanks may follow the dictionary");
    for (std::string_view const key : {"descr", "fortran_order", "shape"})
      if (std::find(seen_.begin(), seen_.end(), key) == seen_.end()) fail(fmt::format("the key '{}' is missing", key));
  }

 private:
  [[noreturn]] void fail(std::string_view problem) const {
    throw_error(ErrorCode::parse, fmt::format("{}: byte {}: npy header: found '{}', {}", name_, position_,
                                              excerpt(content_.substr(position_)), problem));
  }

  void skip_blank() { position_ = std::min(content_.find_first_not_of(" \t\n", position_), content_.size()); }
  bool accept(char wanted) {
    skip_blank();
    if (position_ == content_.size() || content_[position_] != wanted) return false;
    ++position_;
    return true;
  }
  void expect(char wanted) {
    if (!accept(wanted)) fail(fmt::format("'{}' is required", wanted));
  }

  std::string_view quoted() {
    skip_blank();
    char const quote = position_ < content_.size() ? content_[position_] : '\0';
    if (quote != '\'' && quote != '"') fail("a quoted string is required");
    std::size_t const end = content_.find(quote, position_ + 1);
    if (end == std::string_view::npos) fail("the string does not end");
    std::string_view const text = content_.substr(position_ + 1, end - position_ - 1);
    position_ = end + 1;
    return text;
  }

  void read_entry(NpyHeader& header) {
    skip_blank();
    std::size_t const start = position_;
    std::string_view const key = quoted();
    bool const known = key == "descr" || key == "fortran_order" || key == "shape";
    if (!known || std::find(seen_.begin(), seen_.end(), key) != seen_.end()) {
      position_ = start;
      fail(known ? "the key appears twice" : "the keys are descr, fortran_order and shape");
    }
    seen_.push_back(key);
    expect(':');
    skip_blank();
    if (key == "descr") read_type(header);
    if (key == "fortran_order") read_order();
    if (key == "shape") read_shape(header);
  }

  void read_type(NpyHeader& header) {
    if (position_ < content_.size() && content_[position_] == '[')
      fail("structured arrays are not read: save one plain numeric array");
    std::size_t const start = position_;
    std::string_view const spelled = quoted();
    auto const found =
        std::find_if(kTypes.begin(), kTypes.end(), [&](TypeName const& t) { return t.spelled == spelled; });
    if (found != kTypes.end()) {
      header.type = found->type;
      return;
    }
    position_ = start;
    if (spelled.starts_with('>'))
      fail("big-endian arrays are not read: convert with .astype(a.dtype.newbyteorder('<'))");
    if (spelled.find('O') != std::string_view::npos) fail("object arrays are pickles and never read: save numbers");
    fail("a little-endian type of i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 is required: convert with .astype('<f8')");
  }

  void read_order() {
    std::string_view const rest = content_.substr(position_);
    if (rest.starts_with("True")) fail("Fortran order is not read: save np.ascontiguousarray(a)");
    if (!rest.starts_with("False")) fail("True or False is required");
    position_ += 5;
  }

  void read_shape(NpyHeader& header) {
    expect('(');
    while (!accept(')')) {
      skip_blank();
      header.shape.push_back(read_extent());
      if (header.shape.size() > 32) fail("NumPy arrays have at most 32 dimensions");
      if (!accept(',')) {
        if (header.shape.size() == 1) fail("a one-element tuple ends in ','");
        expect(')');
        break;
      }
    }
  }

  std::int64_t read_extent() {
    std::int64_t extent = 0;
    char const* const begin = content_.data() + position_;
    auto const [end, error] = std::from_chars(begin, content_.data() + content_.size(), extent);
    if (error != std::errc{} || extent < 0) fail("an extent in [0, 2^63) is required");
    position_ += static_cast<std::size_t>(end - begin);
    return extent;
  }

  std::string_view content_;
  std::size_t position_;
  std::string const& name_;
  std::vector<std::string_view> seen_;
};

void require_bytes(std::string_view content, std::size_t needed, std::string_view what, std::string const& name) {
  SWITCHYARD_REQUIRE(content.size() >= needed, parse,
                     "{}: byte {}: the file ends inside {}, {} bytes are required: is it cut off?", name,
                     content.size(), what, needed);
}

/// The elements must fill the rest of the file exactly; nothing has been allocated for them yet.
void require_data_size(std::string_view content, NpyHeader& header, std::string const& name) {
  std::int64_t bytes = 0;
  bool overflows = false;
  for (std::int64_t const extent : header.shape)
    overflows = overflows || __builtin_mul_overflow(header.num_elements, extent, &header.num_elements);
  overflows =
      overflows || __builtin_mul_overflow(header.num_elements, static_cast<std::int64_t>(size_of(header.type)), &bytes);
  SWITCHYARD_REQUIRE(!overflows, parse, "{}: byte {}: npy header: the shape ({}) overflows 63 bits", name,
                     kMagic.size(), fmt::join(header.shape, ", "));
  auto const present = static_cast<std::int64_t>(content.size() - header.data_offset);
  SWITCHYARD_REQUIRE(
      bytes == present, parse,
      "{}: byte {}: the shape ({}) needs {} bytes of elements, {} follow: is the file cut off or damaged?", name,
      header.data_offset, fmt::join(header.shape, ", "), bytes, present);
}

}  // namespace

NpyHeader parse_npy_header(std::string_view content, std::string const& source_name) {
  require_bytes(content, kMagic.size() + 2, "the npy magic and version", source_name);
  SWITCHYARD_REQUIRE(content.starts_with(kMagic), parse, "{}: byte 0: found '{}', the npy magic is required",
                     source_name, excerpt(content.substr(0, kMagic.size())));
  int const major = static_cast<unsigned char>(content[6]);
  int const minor = static_cast<unsigned char>(content[7]);
  SWITCHYARD_REQUIRE(major >= 1 && major <= 3 && minor == 0, parse,
                     "{}: byte 6: npy version {}.{}, 1.0 to 3.0 are read", source_name, major, minor);
  std::size_t const length_bytes = major == 1 ? 2 : 4;
  std::size_t const dict_offset = 8 + length_bytes;
  require_bytes(content, dict_offset, "the npy header length", source_name);
  std::size_t const length = little_endian(content, 8, length_bytes);
  SWITCHYARD_REQUIRE(length <= 65535, parse, "{}: byte 8: npy header of {} bytes, the limit is 65535", source_name,
                     length);
  require_bytes(content, dict_offset + length, "the npy header", source_name);
  NpyHeader header;
  header.data_offset = dict_offset + length;
  DictReader(content, dict_offset, header.data_offset, source_name).read_into(header);
  require_data_size(content, header, source_name);
  return header;
}

std::string npy_header(NumberType type, std::vector<std::int64_t> const& shape) {
  constexpr std::size_t kAlignment = 64;
  std::string dict =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}{}), }}",
                  type == NumberType::i8 ? "<i8" : "<f8", fmt::join(shape, ", "), shape.size() == 1 ? "," : "");
  std::size_t const start = kMagic.size() + 4;
  dict.append((kAlignment - (start + dict.size() + 1) % kAlignment) % kAlignment, ' ');
  dict += '\n';
  std::string header(kMagic);
  header += '\x01';
  header += '\0';
  append_little_endian(header, dict.size(), 2);
  return header + dict;
}

}  // namespace switchyard::io
