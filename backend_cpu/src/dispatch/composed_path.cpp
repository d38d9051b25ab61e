// SPDX-License-Identifier: Apache-2.0
// The composed path: how an executor gets its gather maps, and how rows move by them.
#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "executor_state.hpp"
#include "row_fetch.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cpu {
namespace {

constexpr std::int64_t kNameBytes = sizeof(RowOrigin);

ConstRows as_rows(std::vector<RowOrigin> const& names) {
  return {reinterpret_cast<std::byte const*>(names.data()), static_cast<std::int64_t>(names.size()), kNameBytes};
}

std::vector<RowOrigin> as_names(ConstRows rows, std::int64_t parts) {
  auto const* const first = reinterpret_cast<RowOrigin const*>(rows.data);
  return {first, first + rows.count * parts};
}

std::vector<std::int64_t> bytes_of(std::vector<std::int64_t> rows, std::int64_t row_bytes) {
  for (std::int64_t& count : rows) count = checked_mul(count, row_bytes);
  return rows;
}

/// What every rank says in agree_on_map: digest of its plan, digest of the group its map is of, rows it publishes.
constexpr std::size_t kWordSize = 3;

}  // namespace

PeerMemory* CpuExecutor::State::shared_memory() const {
  if (execution == ExecutionPath::staged) return nullptr;
  PeerMemory* const memory = peer_memory(comm);
  SWITCHYARD_REQUIRE(memory != nullptr || execution == ExecutionPath::automatic, unsupported,
                     "rank {} runs composed, but its communicator gives no access to its peers' memory (or checks "
                     "every message, CheckLevel::full): use ExecutionPath::automatic or staged",
                     comm.rank().value());
  return memory;
}

template <typename Compose>
void CpuExecutor::State::agree_on_map(StageContext const& context, GatherMap& map, std::int64_t published_rows,
                                      Compose const& compose) {
  std::int64_t const mine[kWordSize] = {static_cast<std::int64_t>(context.plan.fingerprint().value),
                                        static_cast<std::int64_t>(map.group), published_rows};
  auto const words = all_gather_i64(comm, mine, {"compare plans", context.configuration, context.deadline});
  FingerprintBuilder builder;
  std::vector<std::int64_t> rows_of_rank;
  for (std::size_t rank = 0; rank * kWordSize < words.size(); ++rank) {
    builder.add(static_cast<std::uint32_t>(rank), words[rank * kWordSize]);
    rows_of_rank.push_back(words[rank * kWordSize + 2]);
  }
  std::uint64_t const group = builder.result().value;
  bool current = true;
  for (std::size_t i = 1; i < words.size(); i += kWordSize) current &= static_cast<std::uint64_t>(words[i]) == group;
  if (current) return;
  GatherMap composed;
  compose(composed);
  composed.group = group;
  composed.rows_of_rank = std::move(rows_of_rank);
  map = std::move(composed);
}

void CpuExecutor::State::compose_dispatch(StageContext const& context, GatherMap& map) {
  auto const names = own_names(context.plan.rank, context.plan.num_tokens);
  map.origins.resize(to_size(context.plan.num_expert_rows()));
  run_stages(context, as_rows(names),
             {reinterpret_cast<std::byte*>(map.origins.data()), context.plan.num_expert_rows(), kNameBytes});
}

ConstRows CpuExecutor::State::gather_parts(StageContext const& context, DispatchStage const& stage, ConstRows in,
                                           GatherMap& map) {
  ConstRows blocks = in;
  if (auto const* const gathered = std::get_if<GroupGather>(&stage)) {
    map.parts = parts_of(context.plan, *gathered);
    Rows const received = partials.rows(checked_mul(gathered->own_rows, map.parts), in.row_bytes);
    return_to_owners(context, *gathered, in, received);
    blocks = received;
  } else {
    map.parts = std::get<ShardRepeat>(stage).copies;
  }
  map.joined = true;
  Rows const rows = next_buffer().rows(input_rows(stage), checked_mul(in.row_bytes, map.parts));
  interleave_parts(blocks, map.parts, rows);
  return rows;
}

void CpuExecutor::State::compose_combine(StageContext const& context, GatherMap& map) {
  auto const& stages = return_path(context.plan);
  auto const names = own_names(context.plan.rank, context.plan.num_expert_rows());
  ConstRows current = as_rows(names);
  for (std::size_t i = stages.size(); i-- > 1;) {
    if (joins_partials(stages[i])) {
      current = gather_parts(context, stages[i], current, map);
      continue;
    }
    Rows const target = next_buffer().rows(input_rows(stages[i]), current.row_bytes);
    run_inverse(context, stages[i], current, DType::f32, target, DType::f32, JoinBias());
    current = target;
  }
  map.origins = as_names(current, map.parts);
}

void CpuExecutor::State::dispatch_composed(StageContext const& context, PeerMemory& memory, ConstRows tokens,
                                           Rows rows) {
  agree_on_map(context, dispatch_map, tokens.count, [&](GatherMap& map) { compose_dispatch(context, map); });
  auto const peer_bytes = bytes_of(dispatch_map.rows_of_rank, tokens.row_bytes);
  memory.read_peers(tokens.bytes(), peer_bytes,
                    [&](PeerMemory::Buffers peers) { copy_rows(dispatch_map.origins, peers, rows); },
                    {"dispatch rows", context.configuration, context.deadline});
}

void CpuExecutor::State::combine_composed(StageContext const& context, PeerMemory& memory, SourceSum const& sum,
                                          ConstRows rows, DType in_dtype, DType dtype) {
  agree_on_map(context, combine_map, rows.count, [&](GatherMap& map) { compose_combine(context, map); });
  auto const peer_bytes = bytes_of(combine_map.rows_of_rank, rows.row_bytes);
  memory.read_peers(rows.bytes(), peer_bytes,
                    [&](PeerMemory::Buffers peers) {
                      sum_peer_rows(context, sum, {combine_map, peers, in_dtype, dtype});
                    },
                    {"combine rows", context.configuration, context.deadline});
}

}  // namespace switchyard::cpu
