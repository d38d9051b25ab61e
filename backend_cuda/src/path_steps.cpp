// SPDX-License-Identifier: Apache-2.0
#include "path_steps.hpp"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "switchyard/cuda/rows.hpp"
#include "switchyard/internal/combine_paths.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

using Map = std::vector<std::int64_t>;

RankId rank_at(std::size_t index) {
  return RankId{static_cast<std::int32_t>(index)};
}

/// Renamings that have not become a step yet.
class PendingMap {
 public:
  /// Output row i of the next step is row `next[i]` of what is pending.
  void then(Map next) {
    if (map_)
      for (std::int64_t& row : next) row = row < 0 ? -1 : (*map_)[to_size(row)];
    map_ = std::move(next);
  }
  void flush(std::vector<PathStep>& steps) {
    if (map_) steps.emplace_back(MapStep{std::move(*map_)});
    map_.reset();
  }

 private:
  std::optional<Map> map_;
};

Map starts_of(std::span<std::int64_t const> sizes) {
  Map starts(sizes.size(), 0);
  std::exclusive_scan(sizes.begin(), sizes.end(), starts.begin(), std::int64_t{0});
  return starts;
}

Map map_of(ChunkSort const& sort) {
  Map const starts = starts_of(sort.sizes);
  Map map;
  for (std::int64_t const chunk : sort.order)
    for (std::int64_t i = 0; i < sort.sizes[to_size(chunk)]; ++i) map.push_back(starts[to_size(chunk)] + i);
  return map;
}

Map map_of(ShardRepeat const& repeat) {
  Map map(to_size(repeat.rows * repeat.copies));
  for (std::size_t i = 0; i < map.size(); ++i) map[i] = static_cast<std::int64_t>(i) % repeat.rows;
  return map;
}

std::int64_t total(std::span<std::int64_t const> counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

/// The chunks of `sort`, as they arrive, at the place where the sort puts each; empty ones left out.
std::vector<RowBlock> sorted_receives(RowExchange const& exchange, ChunkSort const& sort) {
  Map target(sort.sizes.size(), 0);
  std::int64_t next = 0;
  for (std::int64_t const chunk : sort.order)
    target[to_size(chunk)] = std::exchange(next, next + sort.sizes[to_size(chunk)]);
  std::vector<RowBlock> blocks;
  std::size_t source = 0;
  std::int64_t left = exchange.receive_rows.front();
  for (std::size_t chunk = 0; chunk < sort.sizes.size(); ++chunk) {
    if (sort.sizes[chunk] == 0) continue;
    while (left == 0) left = exchange.receive_rows[++source];
    blocks.push_back({rank_at(source), target[chunk], sort.sizes[chunk]});
    left -= sort.sizes[chunk];
  }
  return blocks;
}

/// The rows of every slot as a block of its own. Slots ascend as ranks do, so rows that are left to send say whose.
std::vector<RowBlock> sends_by_slot(DispatchPlan const& plan, RowExchange const& exchange) {
  std::vector<RowBlock> blocks;
  std::size_t destination = 0;
  std::int64_t left = exchange.send_rows.front();
  std::int64_t first = 0;
  for (std::int64_t const rows : plan.rows_per_slot) {
    if (rows == 0) continue;
    while (left == 0) left = exchange.send_rows[++destination];
    blocks.push_back({rank_at(destination), first, rows});
    first += rows;
    left -= rows;
  }
  return blocks;
}

/// Whether the exchange of `path` moves every (source, slot) chunk by itself. All ranks must say the same, so the
/// answer depends on what they share: a rank with one local expert has no sort, but its peers cut what they send to it.
bool moves_chunks(DispatchPlan const& plan, std::span<DispatchStage const> path, ReceiveLayout layout) {
  bool const is_alltoall = plan.setup.family != DispatchFamily::megablocks && path.data() == return_path(plan).data();
  return layout == ReceiveLayout::chunks && is_alltoall && plan.setup.grid.tp == 1 &&
         plan.setup.restore == ChunkRestore::inverse;
}

/// One chunk per rank where there is one local expert, and so no sort.
ChunkSort one_chunk_per_rank(RowExchange const& exchange) {
  ChunkSort sort{exchange.receive_rows, Map(exchange.receive_rows.size())};
  std::iota(sort.order.begin(), sort.order.end(), std::int64_t{0});
  return sort;
}

MoveStep sorted_move(DispatchPlan const& plan, RowExchange const& exchange, ChunkSort const& sort) {
  return {"dispatch exchange", sends_by_slot(plan, exchange), sorted_receives(exchange, sort),
          total(exchange.send_rows), total(exchange.receive_rows)};
}

MoveStep reversed(MoveStep move, char const* operation) {
  std::swap(move.sends, move.receives);
  std::swap(move.input_rows, move.output_rows);
  move.operation = operation;
  return move;
}

}  // namespace

MoveStep move_blocks(char const* operation, std::span<std::int64_t const> send_rows,
                     std::span<std::int64_t const> receive_rows) {
  auto const blocks = [](std::span<std::int64_t const> counts) {
    std::vector<RowBlock> list;
    std::int64_t first = 0;
    for (std::size_t rank = 0; rank < counts.size(); ++rank) {
      if (counts[rank] > 0) list.push_back({rank_at(rank), first, counts[rank]});
      first += counts[rank];
    }
    return list;
  };
  return {operation, blocks(send_rows), blocks(receive_rows), total(send_rows), total(receive_rows)};
}

MoveStep gather_move(DispatchPlan const& plan, GroupGather const& stage) {
  MoveStep move = move_blocks("dispatch gather", {}, stage.receive_rows);
  move.input_rows = stage.own_rows;
  if (stage.own_rows == 0) return move;
  for (RankId const peer : internal::ranks_of_group(plan, stage.group)) move.sends.push_back({peer, 0, stage.own_rows});
  return move;
}

MoveStep reduce_move(DispatchPlan const& plan, GroupGather const& stage) {
  MoveStep move = reversed(gather_move(plan, stage), "combine TP reduce");
  move.of_partials = true;
  std::int64_t first = 0;
  for (RowBlock& block : move.receives) block.first_row = std::exchange(first, first + block.rows);
  move.output_rows = stage.own_rows * static_cast<std::int64_t>(internal::ranks_of_group(plan, stage.group).size());
  return move;
}

namespace {

/// The exchange of an AlltoAll path with the sort behind it.
MoveStep chunk_move(DispatchPlan const& plan, std::span<DispatchStage const> path, std::size_t stage) {
  auto const& exchange = std::get<RowExchange>(path[stage]);
  bool const sorted = stage + 1 < path.size();
  return sorted_move(plan, exchange, sorted ? std::get<ChunkSort>(path[stage + 1]) : one_chunk_per_rank(exchange));
}

/// The renaming that a stage is on the way to the experts, or nothing for a move.
std::optional<Map> renaming_of(DispatchStage const& stage) {
  if (auto const* gather = std::get_if<RowGather>(&stage)) return gather->token_of_row;
  if (auto const* repeat = std::get_if<ShardRepeat>(&stage)) return map_of(*repeat);
  if (auto const* sort = std::get_if<ChunkSort>(&stage)) return map_of(*sort);
  return std::nullopt;
}

/// The same on the way back.
std::optional<Map> inverse_renaming_of(DispatchPlan const& plan, DispatchStage const& stage) {
  if (auto const* gather = std::get_if<RowGather>(&stage)) return inverse_rows(*gather);
  if (auto const* sort = std::get_if<ChunkSort>(&stage)) return map_of(restoring_sort(plan.setup, *sort));
  return std::nullopt;
}

void append_inverse(DispatchPlan const& plan, DispatchStage const& stage, std::vector<PathStep>& steps) {
  if (auto const* exchange = std::get_if<RowExchange>(&stage)) {
    steps.emplace_back(move_blocks("combine exchange", exchange->receive_rows, exchange->send_rows));
  } else if (auto const* gather = std::get_if<GroupGather>(&stage)) {
    steps.emplace_back(reduce_move(plan, *gather));
    auto const ranks = static_cast<std::int64_t>(internal::ranks_of_group(plan, gather->group).size());
    steps.emplace_back(TreeStep{gather->own_rows, ranks});
  } else {
    auto const& repeat = std::get<ShardRepeat>(stage);
    steps.emplace_back(TreeStep{repeat.rows, repeat.copies});
  }
}

}  // namespace

std::vector<PathStep> forward_steps(DispatchPlan const& plan, std::span<DispatchStage const> path, ReceiveLayout layout,
                                    bool skip_source) {
  bool const chunks = moves_chunks(plan, path, layout);
  std::vector<PathStep> steps;
  PendingMap pending;
  for (std::size_t i = skip_source ? 1 : 0; i < path.size(); ++i) {
    if (auto map = renaming_of(path[i])) {
      pending.then(std::move(*map));
      continue;
    }
    pending.flush(steps);
    if (auto const* gather = std::get_if<GroupGather>(&path[i])) {
      steps.emplace_back(gather_move(plan, *gather));
    } else if (chunks) {
      steps.emplace_back(chunk_move(plan, path, i));
      break;  // the sort behind it is done
    } else {
      auto const& exchange = std::get<RowExchange>(path[i]);
      steps.emplace_back(move_blocks("dispatch exchange", exchange.send_rows, exchange.receive_rows));
    }
  }
  pending.flush(steps);
  return steps;
}

std::vector<PathStep> inverse_steps(DispatchPlan const& plan, std::span<DispatchStage const> path,
                                    ReceiveLayout layout) {
  std::vector<PathStep> steps;
  if (moves_chunks(plan, path, layout) && path.size() > 1 && std::holds_alternative<RowExchange>(path[1])) {
    steps.emplace_back(reversed(chunk_move(plan, path, 1), "combine exchange"));
    return steps;
  }
  PendingMap pending;
  for (std::size_t i = path.size(); i-- > 1;) {
    if (auto map = inverse_renaming_of(plan, path[i])) {
      pending.then(std::move(*map));
      continue;
    }
    pending.flush(steps);
    append_inverse(plan, path[i], steps);
  }
  pending.flush(steps);
  return steps;
}

namespace {

/// The one move of a path that else renames only.
MoveStep* only_move(std::vector<PathStep>& steps) {
  MoveStep* found = nullptr;
  for (PathStep& step : steps) {
    if (std::holds_alternative<MapStep>(step)) continue;
    auto* const move = std::get_if<MoveStep>(&step);
    if (found != nullptr || move == nullptr || move->of_partials) return nullptr;
    found = move;
  }
  return found;
}

/// Takes the blocks of `self` out of `move`. @return for each row after the move, the row before it, if it was taken
Map take_own_blocks(MoveStep& move, RankId self) {
  auto const is_own = [&](RowBlock const& block) { return block.peer == self; };
  Map source(to_size(move.output_rows), kSkippedRow);
  auto send = move.sends.begin();
  for (RowBlock const& block : move.receives) {
    if (!is_own(block)) continue;
    send = std::find_if(send, move.sends.end(), is_own);
    std::iota(source.begin() + block.first_row, source.begin() + block.first_row + block.rows, send->first_row);
    ++send;
  }
  std::erase_if(move.sends, is_own);
  std::erase_if(move.receives, is_own);
  return source;
}

/// Leaves in `map` only the rows that are sent.
void skip_unsent(Map& map, MoveStep const& move) {
  std::vector<bool> sent(map.size(), false);
  for (RowBlock const& block : move.sends) std::fill_n(sent.begin() + block.first_row, block.rows, true);
  for (std::size_t row = 0; row < map.size(); ++row)
    if (!sent[row]) map[row] = kSkippedRow;
}

}  // namespace

std::vector<std::int64_t> take_own_rows(std::vector<PathStep>& steps, RankId self) {
  MoveStep* const move = only_move(steps);
  if (move == nullptr) return {};
  auto const is_own = [&](RowBlock const& block) { return block.peer == self; };
  if (std::none_of(move->receives.begin(), move->receives.end(), is_own)) return {};
  Map own = take_own_blocks(*move, self);
  if (auto* const before = std::get_if<MapStep>(&steps.front())) {
    for (std::int64_t& row : own)
      if (row >= 0) row = before->map[to_size(row)];
    skip_unsent(before->map, *move);
  }
  auto* const after = std::get_if<MapStep>(&steps.back());
  if (after == nullptr) return own;
  Map through(after->map.size(), kSkippedRow);
  for (std::size_t row = 0; row < through.size(); ++row) {
    std::int64_t const source = after->map[row];
    if (source < 0 || own[to_size(source)] == kSkippedRow) continue;
    through[row] = own[to_size(source)];
    after->map[row] = kSkippedRow;
  }
  return through;
}

std::int64_t output_rows_of(PathStep const& step) {
  if (auto const* map = std::get_if<MapStep>(&step)) return static_cast<std::int64_t>(map->map.size());
  if (auto const* move = std::get_if<MoveStep>(&step)) return move->output_rows;
  return std::get<TreeStep>(step).rows;
}

}  // namespace switchyard::cuda
