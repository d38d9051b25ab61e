// SPDX-License-Identifier: Apache-2.0
#include "prepare_batch.hpp"

#include "cuda_error.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {

void copy_row_blocks(PitchedRows from, std::span<switchyard::RowBlock const> from_blocks, PitchedRows to,
                     std::span<switchyard::RowBlock const> to_blocks, std::int64_t bytes, StreamView stream) {
  for (std::size_t expert = 0; bytes > 0 && expert < from_blocks.size(); ++expert) {
    switchyard::RowBlock const& block = from_blocks[expert];
    if (block.rows == 0) continue;
    SWITCHYARD_CUDA_TRY(cudaMemcpy2DAsync(
        static_cast<std::byte*>(to.data) + to_blocks[expert].first_row * to.stride_bytes, to_size(to.stride_bytes),
        static_cast<std::byte const*>(from.data) + block.first_row * from.stride_bytes, to_size(from.stride_bytes),
        to_size(bytes), to_size(block.rows), cudaMemcpyDeviceToDevice, stream.handle()));
  }
}

LocalTerms local_terms(RowGrouping const& grouping, std::span<float const> weights, StreamView stream) {
  std::vector<std::int64_t> begin{0};
  std::vector<std::int64_t> rows;
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> flats;
  std::vector<float> of_term;
  for (std::int64_t token = 0; token < grouping.num_tokens; ++token) {
    for (std::int64_t flat = token * grouping.top_k; flat < (token + 1) * grouping.top_k; ++flat) {
      if (grouping.row_of_flat[to_size(flat)] < 0) continue;
      rows.push_back(grouping.row_of_flat[to_size(flat)]);
      tokens.push_back(token);
      flats.push_back(flat);
      of_term.push_back(weights.empty() ? 1.0F : weights[to_size(flat)]);
    }
    begin.push_back(static_cast<std::int64_t>(rows.size()));
  }
  LocalTerms terms;
  terms.count = static_cast<std::int64_t>(rows.size());
  terms.begin = upload(begin, stream);
  terms.rows = upload(rows, stream);
  terms.tokens = upload(tokens, stream);
  terms.flats = upload(flats, stream);
  terms.weights = upload(of_term, stream);
  terms.ones = upload(std::vector<float>(rows.size(), 1.0F), stream);
  return terms;
}

}  // namespace switchyard::cuda
