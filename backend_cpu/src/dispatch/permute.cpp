// SPDX-License-Identifier: Apache-2.0
// Permute: every row of the send order is a copy of its token.
#include "stages.hpp"

namespace switchyard::cpu {

void permute(StageContext const& context, RowGather const& stage, ConstRows in, Rows out) {
  for_items(out.count, out.row_bytes, [&](std::int64_t begin, std::int64_t end) {
    context.kernels.gather_rows(in.data, in.row_bytes, stage.token_of_row.data(), out.data, begin, end);
  });
}

}  // namespace switchyard::cpu
