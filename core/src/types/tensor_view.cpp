// SPDX-License-Identifier: Apache-2.0
#include "switchyard/types/tensor_view.hpp"

#include <algorithm>
#include <vector>

#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {

namespace {

std::string_view to_string(MemorySpace space) {
  switch (space) {
    case MemorySpace::host: return "host";
    case MemorySpace::pinned: return "pinned";
    case MemorySpace::device: return "device";
  }
  return "unknown";
}

/// The dense strides of `extents`, last fastest. Extents of 0 count as 1 so that strides stay meaningful.
std::vector<std::int64_t> dense_strides(std::span<std::int64_t const> extents) {
  std::vector<std::int64_t> strides(extents.size());
  std::int64_t stride = 1;
  for (std::size_t i = extents.size(); i-- > 0;) {
    strides[i] = stride;
    stride = checked_mul(stride, std::max<std::int64_t>(extents[i], 1));
  }
  return strides;
}

/// Refuses rank and extents, and returns how many elements there are.
std::int64_t count_elements(std::span<std::int64_t const> extents) {
  SWITCHYARD_REQUIRE(extents.size() <= kMaxTensorRank, invalid_argument,
                     "tensor of rank {}: at most {} dimensions are supported", extents.size(), kMaxTensorRank);
  std::int64_t elements = 1;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    SWITCHYARD_REQUIRE(extents[i] >= 0, invalid_argument, "extent {} of a tensor is {}: it must not be negative", i,
                       extents[i]);
    elements = checked_mul(elements, extents[i]);
  }
  return elements;
}

void require_dimension(int dim, int rank) {
  SWITCHYARD_REQUIRE(dim >= 0 && dim < rank, invalid_argument, "dimension {} of a tensor of rank {}: valid are 0 to {}",
                     dim, rank, rank - 1);
}

}  // namespace

TensorShape::TensorShape(std::initializer_list<std::int64_t> extents)
    : TensorShape(std::span(extents.begin(), extents.size()), dense_strides({extents.begin(), extents.size()})) {}

TensorShape::TensorShape(std::span<std::int64_t const> extents, std::span<std::int64_t const> strides) {
  num_elements_ = count_elements(extents);
  rank_ = static_cast<int>(extents.size());
  SWITCHYARD_REQUIRE(strides.size() == extents.size(), invalid_argument, "tensor with {} extents but {} strides",
                     extents.size(), strides.size());
  std::int64_t last_element = 0;
  for (std::size_t i = 0; i < extents.size(); ++i) {
    SWITCHYARD_REQUIRE(strides[i] >= 0, invalid_argument, "stride {} of a tensor is {}: it must not be negative", i,
                       strides[i]);
    if (num_elements_ > 0) last_element = checked_add(last_element, checked_mul(extents[i] - 1, strides[i]));
  }
  std::copy(extents.begin(), extents.end(), extents_.begin());
  std::copy_n(strides.begin(), extents.size(), strides_.begin());
}

std::int64_t TensorShape::extent(int dim) const {
  require_dimension(dim, rank_);
  return extents_[static_cast<std::size_t>(dim)];
}

std::int64_t TensorShape::stride(int dim) const {
  require_dimension(dim, rank_);
  return strides_[static_cast<std::size_t>(dim)];
}

bool TensorShape::contiguous() const noexcept {
  if (num_elements_ == 0) return true;
  std::int64_t expected = 1;
  for (std::size_t i = static_cast<std::size_t>(rank_); i-- > 0;) {
    if (extents_[i] != 1 && strides_[i] != expected) return false;
    expected *= extents_[i];
  }
  return true;
}

std::span<std::byte const> ConstTensorView::bytes() const {
  check_access(dtype_);
  std::int64_t const size = checked_mul(shape_.num_elements(), size_of(dtype_));
  return {static_cast<std::byte const*>(data_), static_cast<std::size_t>(size)};
}

ConstTensorView ConstTensorView::check_matrix(ConstTensorView view, std::size_t elements) {
  SWITCHYARD_REQUIRE(static_cast<std::size_t>(view.shape().num_elements()) == elements, shape_mismatch,
                     "a matrix of {} x {} needs {} elements, but {} were passed", view.extent(0), view.extent(1),
                     view.shape().num_elements(), elements);
  return view;
}

void ConstTensorView::check_access(DType wanted) const {
  SWITCHYARD_REQUIRE(wanted == dtype_, shape_mismatch, "elements of dtype {} were asked of a tensor of dtype {}",
                     switchyard::to_string(wanted), switchyard::to_string(dtype_));
  SWITCHYARD_REQUIRE(space_ != MemorySpace::device, shape_mismatch,
                     "a {} tensor in {} memory cannot be read by the host: copy it first",
                     switchyard::to_string(dtype_), to_string(space_));
  SWITCHYARD_REQUIRE(shape_.contiguous(), shape_mismatch,
                     "a strided tensor of {} elements has no contiguous span: copy it first", shape_.num_elements());
}

}  // namespace switchyard
