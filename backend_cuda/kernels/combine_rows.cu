// SPDX-License-Identifier: Apache-2.0
// The fixed-order combine: naive, one thread per output element, slots in order (hd/combine_step.hpp).
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/hd/combine_step.hpp"

namespace switchyard::cuda {

namespace {

template <typename T>
__global__ void combine_rows_kernel(CombineRowsParams<T> params) {
  for (std::int64_t i = first_item(); i < params.num_tokens * params.columns; i += item_stride()) {
    std::int64_t const token = i / params.columns;
    std::int64_t const first = params.row_begin[token];
    params.output[i] =
        hd::combine_element(params.rows, params.row_stride, i % params.columns, params.token_rows + first,
                            params.row_weights + first, params.row_begin[token + 1] - first);
  }
}

}  // namespace

template <typename T>
void launch_combine_rows(CombineRowsParams<T> const& params, StreamView stream) {
  if (params.num_tokens <= 0 || params.columns <= 0) return;
  combine_rows_kernel<<<grid_blocks(params.num_tokens * params.columns), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("combine_rows_kernel");
}

template void launch_combine_rows(CombineRowsParams<float> const&, StreamView);
template void launch_combine_rows(CombineRowsParams<bf16_t> const&, StreamView);
template void launch_combine_rows(CombineRowsParams<f16_t> const&, StreamView);

}  // namespace switchyard::cuda
