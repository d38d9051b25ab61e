// SPDX-License-Identifier: Apache-2.0
/// A small AlltoAll dispatch of one rank group as plain index arrays, made without the planner.
///
/// Worked example: 2 tokens, top-1, 2 experts, token 0 -> expert 1, token 1 -> expert 0. The permute puts rows in
/// expert order: row 0 = token 1, row 1 = token 0, so permute = {1, 0}; token 0 finds its result in row 1.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "switchyard/experts/experts.hpp"
#include "test_data.hpp"

namespace cross_backend {

struct AlltoallShape {
  std::int64_t num_tokens;
  std::int64_t topk;
  std::int64_t num_experts;
  std::int64_t num_sources;  ///< chunks of an expert before the sort: rows arrive source by source
  std::int64_t hidden;
};

struct AlltoallVector {
  AlltoallShape shape;
  std::vector<std::int64_t> permute;     ///< [rows] token of every row, experts ascending, tokens ascending
  std::vector<std::int64_t> chunk_sort;  ///< [rows] arrival row of every row in expert-major order
  std::vector<std::int64_t> row_begin;   ///< [tokens + 1]
  std::vector<std::int64_t> token_rows;  ///< rows of every token in slot order; -1 = dropped
  std::vector<float> row_weights;
  std::vector<switchyard::RowBlock> permuted_blocks{};  ///< [experts] rows of each after the permute
  std::vector<switchyard::RowBlock> sorted_blocks{};    ///< [experts] and after the sort
};

namespace detail {

/// The permute, and for every (token, slot) the row it went to. One slot in seven is dropped.
inline void route(AlltoallVector& v, std::uint64_t stream) {
  AlltoallShape const& s = v.shape;
  std::vector<std::int64_t> expert_of;
  for (std::int64_t i = 0; i < s.num_tokens * s.topk; ++i) {
    std::uint32_t const random = random_word(stream, static_cast<std::uint64_t>(i));
    expert_of.push_back(random % 7 == 0 ? -1 : static_cast<std::int64_t>(random / 7) % s.num_experts);
    v.row_weights.push_back(wide_float(stream + 1, static_cast<std::uint64_t>(i)));
  }
  v.token_rows.assign(expert_of.size(), -1);
  for (std::int64_t expert = 0; expert < s.num_experts; ++expert) {
    auto const first = static_cast<std::int64_t>(v.permute.size());
    for (std::size_t i = 0; i < expert_of.size(); ++i) {
      if (expert_of[i] != expert) continue;
      v.token_rows[i] = static_cast<std::int64_t>(v.permute.size());
      v.permute.push_back(static_cast<std::int64_t>(i) / s.topk);
    }
    v.permuted_blocks.push_back({first, static_cast<std::int64_t>(v.permute.size()) - first});
  }
  for (std::int64_t token = 0; token <= s.num_tokens; ++token) v.row_begin.push_back(token * s.topk);
}

}  // namespace detail

/// Rows arrive as num_sources x num_experts chunks of uneven sizes, source-major, and are sorted to expert-major.
inline AlltoallVector make_alltoall(AlltoallShape const& shape, std::uint64_t stream) {
  AlltoallVector v{shape, {}, {}, {}, {}, {}};
  detail::route(v, stream);
  auto const rows = static_cast<std::int64_t>(v.permute.size());
  std::int64_t const chunks = shape.num_sources * shape.num_experts;
  std::vector<std::int64_t> begin = {0};
  for (std::int64_t c = 1; c < chunks; ++c)
    begin.push_back(rows == 0 ? 0 : random_word(stream + 2, static_cast<std::uint64_t>(c)) % (rows + 1));
  begin.push_back(rows);
  std::sort(begin.begin(), begin.end());
  for (std::int64_t expert = 0; expert < shape.num_experts; ++expert) {
    auto const first = static_cast<std::int64_t>(v.chunk_sort.size());
    for (std::int64_t source = 0; source < shape.num_sources; ++source) {
      auto const chunk = static_cast<std::size_t>(source * shape.num_experts + expert);
      for (std::int64_t row = begin[chunk]; row < begin[chunk + 1]; ++row) v.chunk_sort.push_back(row);
    }
    v.sorted_blocks.push_back({first, static_cast<std::int64_t>(v.chunk_sort.size()) - first});
  }
  return v;
}

}  // namespace cross_backend
