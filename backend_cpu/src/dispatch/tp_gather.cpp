// SPDX-License-Identifier: Apache-2.0
// Group gather: all TP ranks of an expert, or all ranks of the world, see the same rows. On the way back the partial
// results of TP ranks, or of hidden shards, are added.
#include <vector>

#include "join_bias.hpp"
#include "stages.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

constexpr std::int64_t kFloatBytes = sizeof(float);

/// The partial results as f32, in `widened` unless they are f32 already.
ConstRows as_floats(StageContext const& context, ConstRows in, DType dtype, ScratchBuffer& widened) {
  if (dtype == DType::f32) return in;
  Rows const floats = widened.rows(in.count, context.hidden * kFloatBytes);
  auto const& kernels = kernels_of(context.kernels, dtype);
  for_items(in.count, floats.row_bytes, [&](std::int64_t begin, std::int64_t end) {
    kernels.widen(in.data, reinterpret_cast<float*>(floats.data), begin * context.hidden, end * context.hidden);
  });
  return floats;
}

}  // namespace

std::int64_t parts_of(DispatchPlan const& plan, GroupGather const& stage) {
  return static_cast<std::int64_t>(internal::ranks_of_group(plan, stage.group).size());
}

void group_gather(StageContext const& context, GroupGather const& stage, ConstRows in, Rows out) {
  std::vector<SendMessage> sends;
  std::vector<ReceiveMessage> receives;
  std::size_t offset = 0;
  for (RankId const peer : internal::ranks_of_group(context.plan, stage.group)) {
    std::size_t const bytes = to_size(stage.receive_rows[peer.index()] * out.row_bytes);
    sends.push_back({peer, in.bytes()});
    receives.push_back({peer, out.bytes().subspan(offset, bytes)});
    offset += bytes;
  }
  context.comm.exchange(sends, receives, {"dispatch gather", context.configuration, context.deadline});
}

void return_to_owners(StageContext const& context, GroupGather const& stage, ConstRows in, Rows out) {
  std::vector<SendMessage> sends;
  std::vector<ReceiveMessage> receives;
  std::size_t sent = 0;
  std::size_t received = 0;
  std::size_t const own_bytes = to_size(stage.own_rows * out.row_bytes);
  for (RankId const peer : internal::ranks_of_group(context.plan, stage.group)) {
    std::size_t const bytes = to_size(stage.receive_rows[peer.index()] * in.row_bytes);
    sends.push_back({peer, in.bytes().subspan(sent, bytes)});
    receives.push_back({peer, out.bytes().subspan(received, own_bytes)});
    sent += bytes;
    received += own_bytes;
  }
  context.comm.exchange(sends, receives, {"combine TP reduce", context.configuration, context.deadline});
}

void tp_reduce(StageContext const& context, GroupGather const& stage, ConstRows in, DType in_dtype, Rows out,
               DType out_dtype, ScratchBuffer& widened, ScratchBuffer& received, JoinBias const& bias) {
  ConstRows const partials = as_floats(context, in, in_dtype, widened);
  std::int64_t const ranks = parts_of(context.plan, stage);
  Rows const mine = received.rows(stage.own_rows * ranks, partials.row_bytes);
  return_to_owners(context, stage, partials, mine);
  auto* const floats = reinterpret_cast<float*>(mine.data);
  auto const& kernels = kernels_of(context.kernels, out_dtype);
  for_items(stage.own_rows, mine.row_bytes * ranks, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t const first = begin * context.hidden;
    std::int64_t const last = end * context.hidden;
    context.kernels.join_partials(floats, stage.own_rows * context.hidden, ranks, first, last);
    bias.add(floats, begin, end);
    kernels.narrow(floats, out.data, first, last);
  });
}

}  // namespace switchyard::cpu
