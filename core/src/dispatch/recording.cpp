// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/recording.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/dispatch/megablocks_planner.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

constexpr std::array<std::string_view, 18> kFieldNames{"rows_per_slot",
                                                       "indices",
                                                       "bin_ids",
                                                       "bins",
                                                       "gathered_tokens",
                                                       "num_out_tokens",
                                                       "permutation",
                                                       "input_splits",
                                                       "output_splits",
                                                       "output_splits_tp",
                                                       "num_global_tokens_per_local_expert",
                                                       "tokens_per_local_expert",
                                                       "sort_input_by_local_experts",
                                                       "restore_output_by_local_experts",
                                                       "expansion",
                                                       "sort_rows",
                                                       "bin_rows",
                                                       "row_tags"};
constexpr std::int64_t kMaxPlacementEntries = std::int64_t{1} << 26;

void require_same(DispatchRecording const& a, DispatchRecording const& b) {
  auto const expect = [&](bool same, char const* what, std::int64_t of_a, std::int64_t of_b) {
    SWITCHYARD_REQUIRE(same, shape_mismatch,
                       "rank {} records {} {}, rank {} records {}: the ranks belong to different groups or calls",
                       a.rank.value(), what, of_a, b.rank.value(), of_b);
  };
  expect(a.grid.tp == b.grid.tp, "tp", a.grid.tp, b.grid.tp);
  expect(a.grid.ep == b.grid.ep, "ep", a.grid.ep, b.grid.ep);
  expect(a.layer == b.layer, "layer", a.layer, b.layer);
  expect(a.num_experts == b.num_experts, "num_experts", a.num_experts, b.num_experts);
  expect(a.family == b.family, "family", static_cast<int>(a.family), static_cast<int>(b.family));
  expect(a.row_order == b.row_order, "row order", static_cast<int>(a.row_order), static_cast<int>(b.row_order));
  expect(a.capacity.has_value() == b.capacity.has_value(), "a capacity:", a.capacity ? 1 : 0, b.capacity ? 1 : 0);
  SWITCHYARD_REQUIRE(a.bins == b.bins, shape_mismatch, "ranks {} and {} record different expert bins", a.rank.value(),
                     b.rank.value());
  SWITCHYARD_REQUIRE(a.slots_per_rank == b.slots_per_rank && a.slot_to_expert == b.slot_to_expert, shape_mismatch,
                     "ranks {} and {} record different placements", a.rank.value(), b.rank.value());
}

void require_group(std::span<DispatchRecording const> calls) {
  SWITCHYARD_REQUIRE(!calls.empty(), shape_mismatch, "no recording to compare");
  auto const grid = calls.front().grid;
  SWITCHYARD_REQUIRE(grid.tp >= 1 && grid.ep >= 1 && std::int64_t{grid.tp} * grid.ep <= INT32_MAX, shape_mismatch,
                     "a recording of tp {} x ep {}: both must be at least 1", grid.tp, grid.ep);
  SWITCHYARD_REQUIRE(calls.size() == to_size(grid.world()), shape_mismatch,
                     "{} ranks are recorded, tp {} x ep {} has {}: give the recordings of all ranks", calls.size(),
                     grid.tp, grid.ep, grid.world());
  for (std::size_t rank = 0; rank < calls.size(); ++rank) {
    SWITCHYARD_REQUIRE(calls[rank].rank.index() == rank, shape_mismatch, "recording {} is that of rank {}", rank,
                       calls[rank].rank.value());
    require_same(calls.front(), calls[rank]);
  }
}

/// The placement with the recorded layer as its last: the choice of a replica depends on the layer's number.
ExpertPlacement placement_of(DispatchRecording const& call) {
  if (call.slots_per_rank.empty() && call.slot_to_expert.empty())
    return ExpertPlacement::contiguous(1, call.num_experts, call.grid.ep);
  auto const slots = static_cast<std::int64_t>(call.slot_to_expert.size());
  SWITCHYARD_REQUIRE(call.layer >= 0 && checked_mul(std::int64_t{call.layer} + 1, slots + 1) <= kMaxPlacementEntries,
                     unsupported, "layer {} of {} slots: too far up for a recorded placement; record it as layer 0",
                     call.layer, slots);
  int const layers = call.layer + 1;
  std::vector<ExpertId> experts;
  for (int layer = 0; layer < layers; ++layer)
    for (std::int32_t const expert : call.slot_to_expert) experts.emplace_back(expert);
  return {layers, call.num_experts, SlotLayout(call.slots_per_rank), std::move(experts)};
}

template <typename Config>
Config config_of(DispatchRecording const& call) {
  Config config;
  config.grid = call.grid;
  config.row_order = call.row_order;
  return config;
}

MegaBlocksConfig megablocks_config_of(DispatchRecording const& call) {
  SWITCHYARD_REQUIRE(call.row_order == RowOrder::rank_major && !call.capacity, unsupported,
                     "rank {} records a MegaBlocks dispatch with {} rows{}: its rows are rank_major, and what its bins "
                     "hold follows from their size alone",
                     call.rank.value(), to_string(call.row_order), call.capacity ? " and a capacity" : "");
  MegaBlocksConfig config;
  config.world = call.grid.world();
  config.bins = call.bins.kind;
  config.block_rows = call.bins.block_rows;
  config.capacity_factor = call.bins.capacity_factor;
  return config;
}

RecordedField const* find_field(std::vector<RecordedField> const& fields, std::string_view name) {
  auto const found =
      std::find_if(fields.begin(), fields.end(), [&](RecordedField const& field) { return field.name == name; });
  return found == fields.end() ? nullptr : &*found;
}

std::optional<std::int64_t> element(std::vector<std::int64_t> const* values, std::size_t index) {
  if (values == nullptr || index >= values->size()) return std::nullopt;
  return (*values)[index];
}

/// @return the first difference of one field on one rank.
std::optional<RecordingMismatch> compare(RankId rank, RecordedField const& got, RecordedField const* expected,
                                         std::int64_t& compared) {
  auto const* reference = expected == nullptr ? nullptr : &expected->values;
  auto const length = std::max(got.values.size(), reference == nullptr ? std::size_t{1} : reference->size());
  for (std::size_t i = 0; i < length; ++i) {
    auto const want = element(reference, i);
    auto const have = element(&got.values, i);
    if (reference == nullptr || want != have)
      return RecordingMismatch{rank, got.name, static_cast<std::int64_t>(i), want, have};
    ++compared;
  }
  return std::nullopt;
}

}  // namespace

std::span<std::string_view const> recorded_field_names() noexcept {
  return kFieldNames;
}

std::vector<DispatchPlan> reference_plans(std::span<DispatchRecording const> calls) {
  require_group(calls);
  auto const& first = calls.front();
  std::vector<RoutingMap> routings;
  std::vector<CapacityLimit> limits;
  for (auto const& call : calls) {
    routings.push_back(call.routing);
    if (call.capacity) limits.push_back(*call.capacity);
  }
  ExpertPlacement const placement = placement_of(first);
  int const layer = placement.num_layers() - 1;
  switch (first.family) {
    case DispatchFamily::megatron_alltoall: break;
    case DispatchFamily::megatron_allgather:
      return plan_allgather_group(config_of<AllGatherConfig>(first), routings, placement, layer, limits);
    case DispatchFamily::megatron_flex:
      return plan_flex_group(config_of<FlexConfig>(first), routings, placement, layer, limits);
    case DispatchFamily::megablocks:
      return plan_megablocks_group(megablocks_config_of(first), routings, placement, layer);
  }
  return plan_alltoall_group(config_of<AllToAllConfig>(first), routings, placement, layer, limits);
}

RecordingReport check_recordings(std::span<DispatchRecording const> calls) {
  return check_recordings(calls, reference_plans(calls));
}

RecordingReport check_recordings(std::span<DispatchRecording const> calls, std::span<DispatchPlan const> plans) {
  SWITCHYARD_REQUIRE(calls.size() == plans.size(), shape_mismatch, "{} recordings and {} plans: give the plans of all",
                     calls.size(), plans.size());
  std::vector<std::vector<RecordedField>> reference;
  for (auto const& plan : plans) reference.push_back(reference_fields(plans, plan.rank));
  RecordingReport report;
  for (std::string_view const name : kFieldNames) {
    bool compared = false;
    for (auto const& call : calls) {
      auto const* got = find_field(call.fields, name);
      if (got == nullptr) continue;
      if (!compared) report.fields.emplace_back(name);
      compared = true;
      report.first_mismatch =
          compare(call.rank, *got, find_field(reference[call.rank.index()], name), report.integers_compared);
      if (report.first_mismatch) return report;
    }
  }
  return report;
}

}  // namespace switchyard
