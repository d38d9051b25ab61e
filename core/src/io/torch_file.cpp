// SPDX-License-Identifier: Apache-2.0
#include "torch_file.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "text_place.hpp"

namespace switchyard::io {
namespace {

constexpr std::string_view kProgram = "data.pkl";

constexpr std::array<std::pair<std::string_view, NumberType>, 9> kStorages = {{{"IntStorage", NumberType::i4},
                                                                               {"LongStorage", NumberType::i8},
                                                                               {"ShortStorage", NumberType::i2},
                                                                               {"CharStorage", NumberType::i1},
                                                                               {"ByteStorage", NumberType::u1},
                                                                               {"FloatStorage", NumberType::f4},
                                                                               {"DoubleStorage", NumberType::f8},
                                                                               {"HalfStorage", NumberType::f2},
                                                                               {"BFloat16Storage", NumberType::bf2}}};

/// The path of part `index` of a tensor's rebuilding, for messages.
std::string part(std::string const& path, std::string_view what) {
  return fmt::format("{}.{}", path, what);
}

std::vector<std::int64_t> integers(Pickle const& pickle, std::uint32_t id, std::string const& path) {
  pickle.require_kind(id, PickleKind::tuple, path);
  std::vector<std::int64_t> values;
  for (std::uint32_t const child : pickle.node(id).children) {
    values.push_back(pickle.integer(child, path));
    if (values.back() < 0) pickle.refuse(child, path, fmt::format("found {}, it must not be negative", values.back()));
  }
  if (values.size() > 8) pickle.refuse(id, path, "at most 8 dimensions are read");
  return values;
}

}  // namespace

std::size_t TorchTensor::place_of(std::int64_t index) const {
  std::int64_t place = first;
  for (std::size_t d = shape.size(); d-- > 0; index /= shape[d]) place += index % shape[d] * strides[d];
  return to_size(place);
}

TorchFile::TorchFile(std::string_view content, std::string source_name)
    : name_(std::move(source_name)), entries_(parse_stored_zip(content, name_)) {
  std::sort(entries_.begin(), entries_.end(), [](auto& a, auto& b) { return a.name < b.name; });
  auto const program = std::find_if(entries_.begin(), entries_.end(), [](ZipEntry const& entry) {
    return entry.name.ends_with(kProgram) && std::count(entry.name.begin(), entry.name.end(), '/') == 1;
  });
  SWITCHYARD_REQUIRE(program != entries_.end(), parse,
                     "{}: the zip archive has no entry 'NAME/data.pkl': give a file that torch.save wrote", name_);
  prefix_ = program->name.substr(0, program->name.size() - kProgram.size());
  ZipEntry const* const order = entry("byteorder");
  SWITCHYARD_REQUIRE(order == nullptr || order->data == "little", parse,
                     "{}: byte {}: byte order '{}': only little-endian files are read", name_, order->offset,
                     excerpt(order->data));
  pickle_.emplace(program->data, name_, program->offset);
}

ZipEntry const* TorchFile::entry(std::string_view name) const {
  std::string const full = prefix_ + std::string(name);
  auto const found = std::lower_bound(entries_.begin(), entries_.end(), full,
                                      [](ZipEntry const& entry, std::string const& key) { return entry.name < key; });
  return found != entries_.end() && found->name == full ? &*found : nullptr;
}

TorchTensor TorchFile::tensor(std::uint32_t id, std::string const& path) const {
  pickle_->require_kind(id, PickleKind::tensor, path);
  auto const& parts = pickle_->node(id).children;
  pickle_->require_kind(parts[0], PickleKind::storage, part(path, "storage"));
  auto const& storage = pickle_->node(parts[0]).children;
  TorchTensor tensor;
  auto const& type_node = pickle_->node(storage[1]);
  auto const type = std::find_if(kStorages.begin(), kStorages.end(), [&](auto const& known) {
    return type_node.kind == PickleKind::global && type_node.text == known.first;
  });
  if (type == kStorages.end())
    pickle_->refuse(storage[1], part(path, "dtype"),
                    fmt::format("found '{}', an integer or float tensor is required", excerpt(type_node.text)));
  tensor.type = type->second;
  pickle_->require_kind(storage[2], PickleKind::string, part(path, "storage"));
  std::string const key = fmt::format("data/{}", pickle_->node(storage[2]).text);
  ZipEntry const* const bytes = entry(key);
  if (bytes == nullptr)
    pickle_->refuse(storage[2], part(path, "storage"),
                    fmt::format("the archive has no entry '{}': is it cut off?", excerpt(key)));
  tensor.storage = bytes->data;
  tensor.storage_offset = bytes->offset;
  read_extents(id, path, tensor);
  return tensor;
}

/// Shape, strides and first element; every element must lie inside the storage, and there cannot be more of them.
void TorchFile::read_extents(std::uint32_t id, std::string const& path, TorchTensor& tensor) const {
  auto const& parts = pickle_->node(id).children;
  tensor.first = pickle_->integer(parts[1], part(path, "storage_offset"));
  tensor.shape = integers(*pickle_, parts[2], part(path, "shape"));
  tensor.strides = integers(*pickle_, parts[3], part(path, "strides"));
  if (tensor.shape.size() != tensor.strides.size())
    pickle_->refuse(parts[3], part(path, "strides"),
                    fmt::format("{} strides for {} dimensions", tensor.strides.size(), tensor.shape.size()));
  auto const held = static_cast<std::int64_t>(tensor.storage.size() / size_of(tensor.type));
  std::int64_t last = tensor.first;
  bool good = last >= 0;
  for (std::size_t d = 0; good && d < tensor.shape.size(); ++d) {
    std::int64_t reach = 0;
    good = !__builtin_mul_overflow(tensor.num_elements, tensor.shape[d], &tensor.num_elements) &&
           !__builtin_mul_overflow(tensor.shape[d] - 1, tensor.strides[d], &reach) &&
           !__builtin_add_overflow(last, reach, &last);
  }
  bool const inside = good && (tensor.num_elements == 0 || last < held) && tensor.num_elements <= held;
  if (!inside)
    pickle_->refuse(parts[2], part(path, "shape"),
                    fmt::format("the shape leaves the storage, which holds {} elements: is the file damaged?", held));
}

}  // namespace switchyard::io
