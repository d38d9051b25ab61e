// SPDX-License-Identifier: Apache-2.0
// Permute: every output row is a copy of its input row, an empty bin is zeros; and back, where rows stay single.
#include "stages.hpp"

namespace switchyard::cpu {

void permute(StageContext const& context, RowGather const& stage, ConstRows in, Rows out) {
  for_items(out.count, out.row_bytes, [&](std::int64_t begin, std::int64_t end) {
    context.kernels.gather_rows(in.data, in.row_bytes, stage.token_of_row.data(), out.data, begin, end);
  });
}

void undo_permute(StageContext const& context, RowGather const& stage, ConstRows in, Rows out) {
  auto const rows = inverse_rows(stage);
  for_items(out.count, out.row_bytes, [&](std::int64_t begin, std::int64_t end) {
    context.kernels.gather_rows(in.data, in.row_bytes, rows.data(), out.data, begin, end);
  });
}

}  // namespace switchyard::cpu
