// SPDX-License-Identifier: Apache-2.0
#include "switchyard/rebalance/registered_weights.hpp"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

std::string place(int layer, std::size_t tensor) {
  return fmt::format("layer {}, tensor {}", layer, tensor);
}

/// @throws unless all rows of the tensor lie in the address space.
void check_tensor(WeightTensor const& tensor, int layer, std::size_t index) {
  SWITCHYARD_REQUIRE(tensor.rows >= 0 && tensor.row_bytes >= 1, invalid_argument,
                     "{}: {} rows of {} bytes; a tensor has at least 0 rows of at least 1 byte", place(layer, index),
                     tensor.rows, tensor.row_bytes);
  SWITCHYARD_REQUIRE(tensor.rows <= 1 || tensor.row_stride_bytes >= tensor.row_bytes, invalid_argument,
                     "{}: rows of {} bytes every {} bytes overlap; pass the stride in bytes, not in elements",
                     place(layer, index), tensor.row_bytes, tensor.row_stride_bytes);
  if (tensor.rows == 0) return;
  SWITCHYARD_REQUIRE(tensor.base != nullptr, invalid_argument, "{}: {} rows at a null address", place(layer, index),
                     tensor.rows);
  std::int64_t const extent =
      checked_add(checked_mul(tensor.rows - 1, std::max<std::int64_t>(tensor.row_stride_bytes, 0)), tensor.row_bytes);
  auto const start = reinterpret_cast<std::uintptr_t>(tensor.base);
  SWITCHYARD_REQUIRE(static_cast<std::uintptr_t>(extent) <= std::numeric_limits<std::uintptr_t>::max() - start,
                     invalid_argument, "{}: {} bytes from its base leave the address space", place(layer, index),
                     extent);
}

/// One row as an address range.
struct RowRange {
  std::uintptr_t begin;
  std::uintptr_t end;
  int layer;
  std::size_t tensor;
  std::int64_t row;
};

std::vector<RowRange> row_ranges(std::vector<std::vector<WeightTensor>> const& layers) {
  std::vector<RowRange> ranges;
  for (std::size_t l = 0; l < layers.size(); ++l) {
    for (std::size_t t = 0; t < layers[l].size(); ++t) {
      WeightTensor const& tensor = layers[l][t];
      for (std::int64_t row = 0; row < tensor.rows; ++row) {
        auto const begin = reinterpret_cast<std::uintptr_t>(tensor.base) +
                           static_cast<std::uintptr_t>(row == 0 ? 0 : row * tensor.row_stride_bytes);
        ranges.push_back({begin, begin + static_cast<std::uintptr_t>(tensor.row_bytes), static_cast<int>(l), t, row});
      }
    }
  }
  return ranges;
}

void check_overlaps(std::vector<std::vector<WeightTensor>> const& layers) {
  std::vector<RowRange> ranges = row_ranges(layers);
  std::sort(ranges.begin(), ranges.end(), [](RowRange const& a, RowRange const& b) { return a.begin < b.begin; });
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    RowRange const& low = ranges[i - 1];
    RowRange const& high = ranges[i];
    SWITCHYARD_REQUIRE(low.end <= high.begin, invalid_argument,
                       "row {} of {} and row {} of {} share {} bytes; every row must have memory of its own", low.row,
                       place(low.layer, low.tensor), high.row, place(high.layer, high.tensor),
                       std::min(low.end, high.end) - high.begin);
  }
}

}  // namespace

RegisteredWeights::RegisteredWeights(std::vector<std::vector<WeightTensor>> layers) : layers_(std::move(layers)) {
  for (std::size_t l = 0; l < layers_.size(); ++l) {
    auto const& tensors = layers_[l];
    SWITCHYARD_REQUIRE(!tensors.empty(), invalid_argument, "layer {} has no tensors: register its expert weights", l);
    for (std::size_t t = 0; t < tensors.size(); ++t) {
      check_tensor(tensors[t], static_cast<int>(l), t);
      SWITCHYARD_REQUIRE(tensors[t].rows == tensors[0].rows, shape_mismatch,
                         "{} has {} rows, but tensor 0 has {}: one row per slot of the rank in every tensor",
                         place(static_cast<int>(l), t), tensors[t].rows, tensors[0].rows);
    }
  }
  check_overlaps(layers_);
}

std::span<WeightTensor const> RegisteredWeights::layer(int layer) const {
  SWITCHYARD_REQUIRE(layer >= 0 && layer < num_layers(), invalid_argument, "there is no layer {} among {}", layer,
                     num_layers());
  return layers_[static_cast<std::size_t>(layer)];
}

std::int64_t RegisteredWeights::num_rows(int layer) const {
  return this->layer(layer).front().rows;
}

std::span<std::byte> RegisteredWeights::row(int layer, int tensor, LocalExpertId row) const {
  auto const tensors = this->layer(layer);
  SWITCHYARD_REQUIRE(tensor >= 0 && static_cast<std::size_t>(tensor) < tensors.size(), invalid_argument,
                     "there is no tensor {} among the {} of layer {}", tensor, tensors.size(), layer);
  WeightTensor const& which = tensors[static_cast<std::size_t>(tensor)];
  SWITCHYARD_REQUIRE(row.value() >= 0 && row.value() < which.rows, invalid_argument,
                     "there is no row {} among the {} of layer {}", row.value(), which.rows, layer);
  std::int64_t const offset = row.value() == 0 ? 0 : row.value() * which.row_stride_bytes;
  return {which.base + offset, static_cast<std::size_t>(which.row_bytes)};
}

std::int64_t RegisteredWeights::expert_bytes(int layer) const {
  std::int64_t bytes = 0;
  for (WeightTensor const& tensor : this->layer(layer)) bytes = checked_add(bytes, tensor.row_bytes);
  return bytes;
}

Fingerprint RegisteredWeights::shape_fingerprint() const {
  FingerprintBuilder builder;
  std::vector<std::int64_t> sizes;
  for (auto const& tensors : layers_) {
    sizes.push_back(static_cast<std::int64_t>(tensors.size()));
    for (WeightTensor const& tensor : tensors) sizes.push_back(tensor.row_bytes);
  }
  builder.add(1, std::span<std::int64_t const>(sizes));
  return builder.result();
}

}  // namespace switchyard
