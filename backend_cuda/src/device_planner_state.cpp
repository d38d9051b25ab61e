// SPDX-License-Identifier: Apache-2.0
#include "device_planner_state.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "device_list.hpp"
#include "switchyard/dispatch/row_order.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/replica_routing.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

constexpr std::int64_t kMostRows = INT32_MAX;
constexpr std::int64_t kChoicesOfTile = 512;
constexpr std::int64_t kMostTilesOfRank = 128;
constexpr std::int64_t kMostTiles = 1024;

std::int64_t rounded_up(std::int64_t value, std::int64_t divisor) {
  return (value + divisor - 1) / divisor;
}

/// Few choices per tile keep many multiprocessors busy; few tiles keep their counts small.
hd::PlanTiles cut_tiles(std::int64_t max_tokens, std::int64_t columns, std::int32_t sources) {
  std::int64_t tokens = std::max<std::int64_t>(1, rounded_up(kChoicesOfTile, columns));
  tokens = std::max(tokens, rounded_up(max_tokens, kMostTilesOfRank));
  tokens = std::max(tokens, rounded_up(checked_mul(max_tokens, sources), kMostTiles));
  std::int64_t const tiles = std::max<std::int64_t>(1, rounded_up(max_tokens, tokens));
  return {sources, static_cast<std::int32_t>(tiles), static_cast<std::int32_t>(tokens)};
}

std::vector<std::int32_t> owners_of_slots(SlotLayout const& layout) {
  std::vector<std::int32_t> owners;
  for (std::int32_t rank = 0; rank < layout.num_ranks(); ++rank)
    owners.insert(owners.end(), to_size(layout.slots_of(RankId{rank})), rank);
  return owners;
}

std::vector<std::int32_t> positions(ExpertParallelGrid grid, RowOrder order) {
  std::vector<std::int32_t> list;
  for (int rank = 0; rank < grid.world(); ++rank)
    list.push_back(static_cast<std::int32_t>(source_position(grid, order, RankId{rank})));
  return list;
}

std::vector<std::int32_t> sources(ExpertParallelGrid grid, RowOrder order) {
  std::vector<std::int32_t> list;
  for (int position = 0; position < grid.world(); ++position) list.push_back(source_at(grid, order, position).value());
  return list;
}

/// sglang_static: which replica of every expert serves this rank.
std::vector<std::int32_t> fixed_replicas(DevicePlannerConfig const& config, RankId rank,
                                         ExpertPlacement const& placement, int layer) {
  ReplicaRouter router({config.replica_rule}, placement, layer,
                       {rank, RankId{config.grid.ep_rank_of(rank)}, std::max(config.columns, 1)});
  std::vector<std::int32_t> fixed;
  for (ExpertId expert(0); expert.value() < placement.num_experts(); ++expert) {
    auto const slots = router.replicas(expert);
    auto const chosen =
        slots.empty() ? slots.end() : std::find(slots.begin(), slots.end(), router.route(TokenIndex{0}, 0, expert));
    fixed.push_back(static_cast<std::int32_t>(chosen - slots.begin()));
  }
  return fixed;
}

std::uint64_t digest_of(DevicePlannerConfig const& config, DispatchPlan const& skeleton) {
  CapacityPolicy const policy = config.capacity.value_or(CapacityPolicy{});
  std::int64_t const facts[] = {static_cast<std::int64_t>(skeleton.setup.fingerprint().value),
                                skeleton.slot_columns,
                                config.max_tokens,
                                static_cast<std::int64_t>(config.replica_rule),
                                static_cast<std::int64_t>(config.selection),
                                config.capacity ? 1 : 0,
                                std::bit_cast<std::int64_t>(policy.factor.value_or(0)),
                                static_cast<std::int64_t>(policy.policy),
                                policy.pad_to_capacity ? 1 : 0,
                                policy.ratio ? policy.ratio->numerator : 0,
                                policy.ratio ? policy.ratio->denominator : 0,
                                std::bit_cast<std::int64_t>(config.megablocks.capacity_factor),
                                static_cast<std::int64_t>(config.megablocks.zero_capacity),
                                config.megablocks.top_k};
  FingerprintBuilder builder;
  builder.add(1, facts);
  return builder.result().value;
}

void require_config(DevicePlannerConfig const& config, ExpertPlacement const& placement) {
  bool const is_megablocks = config.family == DispatchFamily::megablocks;
  SWITCHYARD_REQUIRE(!is_megablocks || config.megablocks.world == config.grid.world(), invalid_argument,
                     "MegaBlocks for a world of {} ranks on a grid of {}", config.megablocks.world,
                     config.grid.world());
  SWITCHYARD_REQUIRE(
      !is_megablocks || (config.grid.tp == 1 && !config.capacity && config.row_order == RowOrder::rank_major),
      unsupported,
      "MegaBlocks over tp {} x ep {}: a device plans it in rank_major order, without TP and a capacity of another "
      "family; plan on the host",
      config.grid.tp, config.grid.ep);
  constexpr std::int64_t kAlignment = alignof(PlanHeader);
  SWITCHYARD_REQUIRE(config.announcement_multiple >= 0 && config.announcement_multiple % kAlignment == 0,
                     invalid_argument, "announcements in multiples of {} bytes: must be a multiple of {}",
                     config.announcement_multiple, kAlignment);
  SWITCHYARD_REQUIRE(config.columns >= 1 && config.max_tokens >= 0 && config.max_expert_rows >= 0, invalid_argument,
                     "a device planner for {} tokens of {} columns and {} expert rows: columns must be at least 1 and "
                     "sizes not negative",
                     config.max_tokens, config.columns, config.max_expert_rows);
  SWITCHYARD_REQUIRE(config.max_tokens <= kMostRows / config.columns, unsupported,
                     "{} tokens of {} columns: a device plans at most {} choices of a rank", config.max_tokens,
                     config.columns, kMostRows);
  SWITCHYARD_REQUIRE(config.form == RoutingForm::topk || config.columns == placement.num_experts(), shape_mismatch,
                     "dense routing of {} columns for {} experts", config.columns, placement.num_experts());
  SWITCHYARD_REQUIRE(!config.capacity || config.capacity->rule != CapacityRule::megablocks, unsupported,
                     "MegaBlocks' capacity rule is not applied on a device: apply_capacity() on the host");
}

}  // namespace

SortMemory::SortMemory(PlanSort const& shape, std::int64_t rows, std::int64_t max_inputs)
    : max_rows(rows),
      prefix(checked_mul(checked_mul(shape.lines(), shape.tiles.count()), std::int64_t{sizeof(std::uint32_t)})),
      totals(checked_mul(shape.lines(), std::int64_t{sizeof(std::uint32_t)})),
      lists{device_list<std::int64_t>(rows),
            device_list<std::int64_t>(shape.keys.kind == hd::PlanKey::ep_rank ? 0 : rows),
            device_list<std::int64_t>(checked_add(max_inputs, 1)), device_list<std::int64_t>(rows)} {}

void SortMemory::attach_to(PlanSort& sort) const {
  sort.prefix = prefix.as<std::uint32_t>();
  sort.totals = totals.as<std::uint32_t>();
  sort.max_rows = max_rows;
  PlanGather const target = lists.target();
  sort.row_input = target.row_input;
  sort.row_column = target.row_column;
  sort.input_begin = target.input_begin;
  sort.input_rows = target.input_rows;
}

DeviceGather GatherMemory::gather() const {
  return {row_input.as<std::int64_t const>(), row_column.as<std::int64_t const>(), input_begin.as<std::int64_t const>(),
          input_rows.as<std::int64_t const>()};
}

PlanGather GatherMemory::target() const {
  return {row_input.as<std::int64_t>(), row_column.as<std::int64_t>(), input_begin.as<std::int64_t>(),
          input_rows.as<std::int64_t>()};
}

DevicePlanner::State::State(DevicePlannerConfig const& given, RankId rank, ExpertPlacement const& placement, int layer)
    : config(given),
      skeleton((require_config(given, placement), plan_skeleton(given, rank, placement, layer))),
      world(given.grid.world()),
      columns(static_cast<std::int32_t>(skeleton.slot_columns)),
      configuration(digest_of(config, skeleton)) {
  std::int64_t const table = checked_mul(checked_mul(config.max_tokens, columns), std::int64_t{sizeof(std::int32_t)});
  std::int64_t const counts = checked_mul(skeleton.setup.num_slots, std::int64_t{sizeof(std::int64_t)});
  constexpr std::int64_t kHeader = sizeof(PlanHeader);
  std::int64_t const multiple = std::max(config.announcement_multiple, kHeader);
  auto const block = [&](std::int64_t bytes) {
    return checked_mul(rounded_up(checked_add(bytes, kHeader), multiple), multiple);
  };
  block_bytes = block(announces_counts() ? counts : table);
  announcements = DeviceBuffer(checked_mul(block_bytes, world));
  if (announces_counts()) own_block = DeviceBuffer(block(table));
  clear_now({&announcements, &own_block});  // blocks travel whole, also what a batch leaves of them
  if (config.capacity) {
    std::int64_t const entries = checked_mul(config.max_tokens, placement.num_experts());
    dense_map = DeviceBuffer(entries);
    kept_map = DeviceBuffer(entries);
    dense_weights = device_list<float>(entries);
    kept_weights = device_list<float>(entries);
  }
  add_tables(placement, layer);
  add_sorts();
  add_lists();
}

void DevicePlanner::State::add_tables(ExpertPlacement const& placement, int layer) {
  Stream const stream;
  ReplicaTable const table(placement, layer);
  std::vector<std::int32_t> begin{0};
  std::vector<std::int32_t> slots;
  for (ExpertId expert(0); expert.value() < placement.num_experts(); ++expert) {
    for (SlotId const slot : table.replicas(expert)) slots.push_back(slot.value());
    begin.push_back(static_cast<std::int32_t>(slots.size()));
  }
  replica_begin = upload(begin, stream);
  replica_slots = upload(slots, stream);
  if (config.replica_rule == ReplicaRule::sglang_static)
    fixed = upload(fixed_replicas(config, skeleton.rank, placement, layer), stream);
  rank_of_slot = upload(owners_of_slots(placement.layout()), stream);
  std::vector<std::int32_t> first_slots;
  for (std::int32_t ep = 0; ep < config.grid.ep; ++ep)  // hidden shards of MegaBlocks begin anew
    first_slots.push_back(placement.layout().first_slot(RankId{ep % placement.num_ranks()}).value());
  first_slots.push_back(placement.num_slots());
  first_slot_of = upload(first_slots, stream);
  source_at = upload(sources(config.grid, config.row_order), stream);
  position_of = upload(positions(config.grid, config.row_order), stream);
  chunk_of = upload(positions(config.grid, RowOrder::tp_major), stream);
  for (auto const* stages : {&skeleton.stages, &skeleton.row_return})
    for (auto const& stage : *stages)
      if (auto const* sort = std::get_if<ChunkSort>(&stage)) chunk_order = upload(sort->order, stream);
}

PlanSort DevicePlanner::State::sort_of(hd::PlanKey key) const {
  bool const is_arrival = key == hd::PlanKey::local_id;
  PlanSort sort{};
  sort.keys = {key, rank_of_slot.as<std::int32_t const>(), config.grid.ep, skeleton.first_slot,
               skeleton.num_local_experts()};
  sort.tiles = cut_tiles(config.max_tokens, columns, is_arrival ? world : 1);
  sort.buckets = key == hd::PlanKey::slot      ? skeleton.setup.num_slots
                 : key == hd::PlanKey::ep_rank ? config.grid.ep
                                               : skeleton.num_local_experts();
  sort.columns = columns;
  auto* const all = announcements.as<std::byte>();
  auto* const mine = announces_counts() ? own_block.as<std::byte>() : all + skeleton.rank.value() * block_bytes;
  sort.blocks = {is_arrival ? all : mine, block_bytes, configuration};
  sort.source_at = is_arrival ? source_at.as<std::int32_t const>() : nullptr;
  sort.counts_carried = is_arrival && is_flex();
  sort.copies = key == hd::PlanKey::ep_rank ? config.grid.tp : 1;
  return sort;
}

void DevicePlanner::State::add_sort(PlanSort sort, std::int64_t max_rows, std::int64_t max_inputs, SortMemory& memory) {
  SWITCHYARD_REQUIRE(max_rows <= kMostRows, unsupported,
                     "up to {} rows in one sort of rank {}: a device plans at most {}; lower max_tokens or give a "
                     "budget of expert rows",
                     max_rows, skeleton.rank.value(), kMostRows);
  memory = SortMemory(sort, max_rows, max_inputs);
  memory.attach_to(sort);
  sorts.sort[sorts.count++] = sort;
}

void DevicePlanner::State::add_sorts() {
  std::int64_t const choices = checked_mul(config.max_tokens, columns);
  own = sorts.count;
  add_sort(sort_of(hd::PlanKey::slot), choices, config.max_tokens, rows);
  bool const is_dense = config.form == RoutingForm::dense || config.capacity.has_value();
  std::int64_t const of_token = is_dense ? std::min(columns, skeleton.num_local_experts()) : columns;
  std::int64_t const arriving = checked_mul(checked_mul(config.max_tokens, world), of_token);
  max_expert_rows = config.max_expert_rows > 0 ? std::min(config.max_expert_rows, arriving) : arriving;
  if (is_flex()) {
    std::int64_t const targets = checked_mul(std::min<std::int64_t>(columns, config.grid.ep), config.grid.tp);
    unique = sorts.count;
    add_sort(sort_of(hd::PlanKey::ep_rank), checked_mul(config.max_tokens, targets), config.max_tokens, sent);
  }
  if (!announces_counts()) {
    arrival = sorts.count;
    add_sort(sort_of(hd::PlanKey::local_id), max_expert_rows, checked_mul(config.max_tokens, world), expansion);
  }
  std::int32_t buckets = 1;
  for (int i = 0; i < sorts.count; ++i) buckets = std::max(buckets, sorts.sort[i].lines());
  sorts.warps = plan_warps(buckets);
  SWITCHYARD_REQUIRE(sorts.warps > 0, unsupported, "{} slots are more than a block of the device planner counts",
                     skeleton.setup.num_slots);
  prepare_plan_kernels();
  if (plans_in_one_block()) prepare_plan_block();
}

void DevicePlanner::State::add_lists() {
  std::int64_t const locals = skeleton.num_local_experts();
  rows_per_slot = device_list<std::int64_t>(skeleton.setup.num_slots);
  tokens_per_local = device_list<std::int64_t>(locals);
  chunk_sizes = device_list<std::int64_t>(checked_mul(world, locals));
  tp_own = device_list<std::int64_t>(1);
  for (DeviceBuffer* list :
       {&arrived, &lane_send, &lane_receive, &tp_receive, &rank_send, &rank_receive, &tokens_of_rank})
    *list = device_list<std::int64_t>(world);
  std::vector<std::int64_t> start(kPlanNumberCount, 0);
  start[kPlanRank] = skeleton.rank.value();
  start[kPlanFirstSlot] = skeleton.first_slot;
  start[kPlanColumns] = columns;
  Stream const stream;
  numbers = upload(start, stream);
  error = upload(std::vector<std::uint64_t>{0, 0}, stream);
  error_host = PinnedBuffer(sizeof(std::uint64_t));
  static_assert(sizeof(DevicePlanNumbers) == kPlanNumberCount * sizeof(std::int64_t));
  lists.numbers = numbers.as<DevicePlanNumbers const>();
  lists.rows = rows.lists.gather();
  if (unique >= 0) lists.sent = sent.lists.gather();
  if (arrival >= 0) lists.expansion = expansion.lists.gather();
  lists.rows_per_slot = rows_per_slot.as<std::int64_t const>();
  lists.tokens_per_local_expert = tokens_per_local.as<std::int64_t const>();
  lists.lane_send = lane_send.as<std::int64_t const>();
  lists.lane_receive = lane_receive.as<std::int64_t const>();
  lists.tp_receive = tp_receive.as<std::int64_t const>();
  lists.chunk_sizes = chunk_sizes.as<std::int64_t const>();
  lists.tokens_of_rank = tokens_of_rank.as<std::int64_t const>();
  if (is_megablocks()) add_bins(world / skeleton.setup.hidden_shards);
  if (!is_flex()) return;
  lists.rank_send = rank_send.as<std::int64_t const>();
  lists.rank_receive = rank_receive.as<std::int64_t const>();
}

PlanFinish DevicePlanner::State::finish() const {
  PlanFinish finish{};
  finish.own = own;
  finish.unique = unique;
  finish.arrival = arrival;
  finish.blocks = {announcements.as<std::byte>(), block_bytes, configuration};
  finish.tp = config.grid.tp;
  finish.ep = config.grid.ep;
  finish.rank = skeleton.rank.value();
  finish.num_slots = skeleton.setup.num_slots;
  finish.first_slot = skeleton.first_slot;
  finish.num_local = skeleton.num_local_experts();
  finish.first_slot_of = first_slot_of.as<std::int32_t const>();
  finish.position_of = position_of.as<std::int32_t const>();
  finish.chunk_of = chunk_of.as<std::int32_t const>();
  finish.rows_per_slot = rows_per_slot.as<std::int64_t>();
  finish.tokens_per_local = tokens_per_local.as<std::int64_t>();
  finish.chunk_sizes = chunk_sizes.as<std::int64_t>();
  finish.arrived = arrived.as<std::int64_t>();
  finish.lane_send = lane_send.as<std::int64_t>();
  finish.lane_receive = lane_receive.as<std::int64_t>();
  finish.tp_own = tp_own.as<std::int64_t>();
  finish.tp_receive = tp_receive.as<std::int64_t>();
  finish.rank_send = rank_send.as<std::int64_t>();
  finish.rank_receive = rank_receive.as<std::int64_t>();
  finish.tokens_of_rank = tokens_of_rank.as<std::int64_t>();
  finish.numbers = numbers.as<std::int64_t>();
  finish.max_expert_rows = is_megablocks() ? bins.max_sorted_rows : max_expert_rows;
  finish.error = error.as<unsigned long long>();
  return finish;
}

PlanBlockShape DevicePlanner::State::block_shape() const {
  return {world, static_cast<std::int32_t>(config.max_tokens), columns, skeleton.setup.num_slots};
}

bool DevicePlanner::State::plans_in_one_block() const {
  bool const is_small = config.max_tokens <= kPlanBlockThreads && fits_one_block(block_shape());
  return is_small && config.kernels == PlanKernels::automatic && is_flex() && config.grid.tp == 1;
}

}  // namespace switchyard::cuda
