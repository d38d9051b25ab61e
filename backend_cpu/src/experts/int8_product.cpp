// SPDX-License-Identifier: Apache-2.0
#include "int8_product.hpp"

#include <algorithm>
#include <vector>

#include "expert_layers.hpp"
#include "switchyard/hd/dequantize.hpp"
#include "switchyard/hd/tree_sum.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

/// Columns that share a block, a scale of the rows and a scale of the weights.
struct Segment {
  std::int64_t begin;
  std::int64_t end;
  std::int64_t block;
  std::int64_t row_group;
  std::int64_t weight_group;
};

std::int64_t group_width(QuantizedView const& matrix) {
  return matrix.layout.group_columns == 0 ? std::max<std::int64_t>(matrix.columns, 1) : matrix.layout.group_columns;
}

std::vector<Segment> segments_of(Int8Product const& product) {
  std::vector<Segment> segments;
  std::int64_t const row_width = group_width(product.rows);
  std::int64_t const weight_width = group_width(product.weights);
  std::int64_t begin = 0;
  for (std::size_t block = 0; block < product.block_ends.size(); ++block)
    while (begin < product.block_ends[block]) {
      std::int64_t const end = std::min(
          {product.block_ends[block], (begin / row_width + 1) * row_width, (begin / weight_width + 1) * weight_width});
      segments.push_back({begin, end, static_cast<std::int64_t>(block), begin / row_width, begin / weight_width});
      begin = end;
    }
  return segments;
}

/// The codes of one row and its scales.
struct CodeRow {
  std::int8_t const* codes;
  std::byte const* scales;
};

CodeRow code_row(QuantizedView const& matrix, QuantSizes const& sizes, std::int64_t row) {
  std::int64_t const group = matrix.layout.group_rows == 0 ? 0 : row / matrix.layout.group_rows;
  return {reinterpret_cast<std::int8_t const*>(matrix.codes.data() + row * sizes.code_row_bytes),
          matrix.scales.data() + group * sizes.column_groups * static_cast<std::int64_t>(sizeof(float))};
}

float element(std::span<Segment const> segments, std::size_t blocks, CodeRow const& row, CodeRow const& weight) {
  float partials[kIntermediateBlocks] = {};
  for (Segment const& segment : segments) {
    std::int32_t sum = 0;
    for (std::int64_t k = segment.begin; k < segment.end; ++k)
      sum += static_cast<std::int32_t>(row.codes[k]) * static_cast<std::int32_t>(weight.codes[k]);
    float const scale = hd::mul_rn(hd::load_scale_f32(row.scales, segment.row_group),
                                   hd::load_scale_f32(weight.scales, segment.weight_group));
    float& partial = partials[segment.block];
    partial = hd::fma_rn(static_cast<float>(sum), scale, partial);
  }
  hd::tree_sum_in_place(partials, 1, static_cast<std::int64_t>(blocks), 1);
  return hd::canonical(partials[0]);
}

}  // namespace

bool is_int8(QuantizedView const& matrix) noexcept {
  return matrix.layout.code == CodeFormat::int8 && matrix.layout.scale == ScaleFormat::f32 &&
         !matrix.layout.tensor_scale;
}

void multiply_int8(Int8Product const& product) {
  SWITCHYARD_REQUIRE(product.rows.columns < 1 << 17, unsupported,
                     "an int8 product over {} columns: from 131072 on an int32 sum may overflow; dequantise one side",
                     product.rows.columns);
  std::vector<Segment> const segments = segments_of(product);
  QuantSizes const row_sizes = quant_sizes(product.rows.layout, product.rows.rows, product.rows.columns);
  QuantSizes const weight_sizes = quant_sizes(product.weights.layout, product.weights.rows, product.weights.columns);
  auto const rows = static_cast<std::int64_t>(product.row_list.size());
  for_rows(product.weights.rows, rows * product.rows.columns, [&](std::int64_t n) {
    CodeRow const weight = code_row(product.weights, weight_sizes, n);
    for (std::int64_t r = 0; r < rows; ++r)
      product.out[r * product.weights.rows + n] = element(
          segments, product.block_ends.size(), code_row(product.rows, row_sizes, product.row_list[to_size(r)]), weight);
  });
}

}  // namespace switchyard::cpu
