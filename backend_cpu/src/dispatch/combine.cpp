// SPDX-License-Identifier: Apache-2.0
// Combine: the weighted sum of every token's rows at its source rank.
#include "stages.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {

void combine_rows(StageContext const& context, RowGather const& stage, ConstRows in, DType dtype,
                  std::span<float const> row_weights, std::byte* out) {
  CombineTask const task{
      in.data, context.hidden, stage.row_begin.data(), stage.rows_of_token.data(), row_weights.data(), out};
  auto const& kernels = kernels_of(context.kernels, dtype);
  auto const tokens = static_cast<std::int64_t>(stage.row_begin.size()) - 1;
  std::int64_t const rows_per_token = tokens == 0 ? 0 : in.count / tokens;
  for_items(tokens, (rows_per_token + 1) * in.row_bytes,
            [&](std::int64_t begin, std::int64_t end) { kernels.combine(task, begin, end); });
}

void round_rows(StageContext const& context, ConstRows in, Rows out, DType dtype) {
  auto const& kernels = kernels_of(context.kernels, dtype);
  for_items(in.count, in.row_bytes, [&](std::int64_t begin, std::int64_t end) {
    kernels.narrow(reinterpret_cast<float const*>(in.data), out.data, begin * context.hidden, end * context.hidden);
  });
}

}  // namespace switchyard::cpu
