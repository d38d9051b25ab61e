// SPDX-License-Identifier: Apache-2.0
// Hidden shards: every shard of an expert gets the same rows; on the way back their partial results are added.
#include <cstring>

#include "stages.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {

void repeat_shards(StageContext const&, ShardRepeat const& stage, ConstRows in, Rows out) {
  auto const rows = in.bytes();
  if (rows.empty()) return;
  for_items(stage.copies, static_cast<std::int64_t>(rows.size()), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t copy = begin; copy < end; ++copy)
      std::memcpy(out.data + to_size(copy) * rows.size(), rows.data(), rows.size());
  });
}

void join_shards(StageContext const& context, ShardRepeat const& stage, ConstRows in, DType in_dtype, Rows out,
                 DType out_dtype, ScratchBuffer& widened) {
  auto* const floats =
      reinterpret_cast<float*>(widened.rows(in.count, context.hidden * std::int64_t{sizeof(float)}).data);
  auto const& from = kernels_of(context.kernels, in_dtype);
  auto const& to = kernels_of(context.kernels, out_dtype);
  for_items(in.count, in.row_bytes, [&](std::int64_t begin, std::int64_t end) {
    from.widen(in.data, floats, begin * context.hidden, end * context.hidden);
  });
  for_items(stage.rows, in.row_bytes * stage.copies, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t const first = begin * context.hidden;
    std::int64_t const last = end * context.hidden;
    context.kernels.join_partials(floats, stage.rows * context.hidden, stage.copies, first, last);
    to.narrow(floats, out.data, first, last);
  });
}

}  // namespace switchyard::cpu
