// SPDX-License-Identifier: Apache-2.0
#include "switchyard/dispatch/dispatch_plan.hpp"

#include <algorithm>

#include "chunk_order.hpp"
#include "row_sums.hpp"
#include "switchyard/internal/plan_fields.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

/// Adds a stage: its kind under the base field, its lists under the ones that follow.
class StageFingerprint {
 public:
  StageFingerprint(FingerprintBuilder& builder, std::uint32_t base) : builder_(builder), base_(base) {}

  void operator()(RowGather const& stage) {
    lists(internal::kKindRowGather, {stage.token_of_row, stage.slot_of_row, stage.row_begin, stage.rows_of_token});
  }
  void operator()(RowExchange const& stage) {
    lists(internal::kKindRowExchange, {stage.send_rows, stage.receive_rows});
  }
  void operator()(GroupGather const& stage) {
    std::int64_t const own[] = {stage.own_rows};
    lists(stage.group == GatherGroup::tp ? internal::kKindTpGather : internal::kKindWorldGather,
          {own, stage.receive_rows});
  }
  void operator()(ChunkSort const& stage) { lists(internal::kKindChunkSort, {stage.sizes, stage.order}); }
  void operator()(ShardRepeat const& stage) {
    std::int64_t const numbers[] = {stage.rows, stage.copies};
    lists(internal::kKindShardRepeat, {numbers});
  }

 private:
  void lists(std::int64_t kind, std::initializer_list<std::span<std::int64_t const>> values) {
    builder_.add(base_, kind);
    std::uint32_t field = base_;
    for (auto const& list : values) builder_.add(++field, list);
  }

  FingerprintBuilder& builder_;
  std::uint32_t base_;
};

void add_stages(FingerprintBuilder& builder, std::uint32_t base, std::vector<DispatchStage> const& stages) {
  for (auto const& stage : stages) {
    std::visit(StageFingerprint(builder, base), stage);
    base += internal::kFieldsPerStage;
  }
}

}  // namespace

std::string_view to_string(DispatchFamily family) noexcept {
  switch (family) {
    case DispatchFamily::megatron_alltoall: return "megatron_alltoall";
    case DispatchFamily::megatron_allgather: return "megatron_allgather";
    case DispatchFamily::megatron_flex: return "megatron_flex";
    case DispatchFamily::megablocks: return "megablocks";
  }
  return "unknown";
}

std::string_view to_string(RowOrder order) noexcept {
  switch (order) {
    case RowOrder::rank_major: return "rank_major";
    case RowOrder::tp_major: return "tp_major";
  }
  return "unknown";
}

std::string_view to_string(ChunkRestore restore) noexcept {
  switch (restore) {
    case ChunkRestore::inverse: return "inverse";
    case ChunkRestore::megatron_seed: return "megatron_seed";
  }
  return "unknown";
}

std::string_view to_string(ExpertBins bins) noexcept {
  switch (bins) {
    case ExpertBins::exact: return "exact";
    case ExpertBins::capacity: return "capacity";
    case ExpertBins::blocks: return "blocks";
  }
  return "unknown";
}

std::string_view to_string(DispatchRule rule) noexcept {
  switch (rule) {
    case DispatchRule::shape_mismatch: return "shape_mismatch";
    case DispatchRule::index_out_of_range: return "index_out_of_range";
    case DispatchRule::not_inverse: return "not_inverse";
    case DispatchRule::not_a_permutation: return "not_a_permutation";
    case DispatchRule::wrong_order: return "wrong_order";
    case DispatchRule::outside_group: return "outside_group";
    case DispatchRule::rows_not_conserved: return "rows_not_conserved";
    case DispatchRule::setup_mismatch: return "setup_mismatch";
    case DispatchRule::pair_mismatch: return "pair_mismatch";
    case DispatchRule::count_mismatch: return "count_mismatch";
    case DispatchRule::wrong_rows: return "wrong_rows";
  }
  return "unknown";
}

Fingerprint DispatchSetup::fingerprint() const {
  std::int64_t const facts[] = {static_cast<std::int64_t>(family),
                                static_cast<std::int64_t>(row_order),
                                static_cast<std::int64_t>(restore),
                                grid.tp,
                                grid.ep,
                                layer,
                                num_experts,
                                num_slots,
                                static_cast<std::int64_t>(placement.value)};
  FingerprintBuilder builder;
  builder.add(internal::kFieldSetup, facts);
  std::int64_t const layout[] = {hidden_shards, static_cast<std::int64_t>(bins), block_rows};
  bool const plain = hidden_shards == 1 && bins == ExpertBins::exact && block_rows == 0;
  if (family == DispatchFamily::megablocks || !plain) builder.add(internal::kFieldMegaBlocks, layout);
  return builder.result();
}

std::int64_t DispatchPlan::num_expert_rows() const {
  return sum_rows(tokens_per_local_expert);
}

Fingerprint DispatchPlan::fingerprint() const {
  FingerprintBuilder builder;
  builder.add(internal::kFieldSetup, static_cast<std::int64_t>(setup.fingerprint().value));
  std::int64_t const own[] = {rank.value(), first_slot, num_tokens, slot_columns};
  builder.add(internal::kFieldRank, own);
  std::int64_t const limit[] = {capacity ? 1 : 0, capacity ? capacity->rows : 0, capacity && capacity->padded ? 1 : 0};
  builder.add(internal::kFieldCapacity, limit);
  builder.add(internal::kFieldRowsPerSlot, std::span<std::int64_t const>(rows_per_slot));
  builder.add(internal::kFieldTokensPerLocalExpert, std::span<std::int64_t const>(tokens_per_local_expert));
  add_stages(builder, internal::kFieldStages, stages);
  add_stages(builder, internal::kFieldRowReturn, row_return);
  return builder.result();
}

std::vector<DispatchStage> const& return_path(DispatchPlan const& plan) noexcept {
  return plan.row_return.empty() ? plan.stages : plan.row_return;
}

std::vector<std::int64_t> filled_rows(DispatchPlan const& plan) {
  std::vector<std::int64_t> filled = plan.tokens_per_local_expert;
  auto const* last = plan.stages.empty() ? nullptr : std::get_if<RowGather>(&plan.stages.back());
  if (last == nullptr) return filled;
  SWITCHYARD_REQUIRE(static_cast<std::int64_t>(last->token_of_row.size()) == sum_rows(filled), invalid_plan,
                     "the last stage of rank {} hands on {} rows for blocks of {} rows", plan.rank.value(),
                     last->token_of_row.size(), sum_rows(filled));
  auto row = last->token_of_row.begin();
  for (std::int64_t& rows : filled) {
    auto const end = row + rows;
    rows = std::count_if(row, end, [](std::int64_t token) { return token >= 0; });
    row = end;
  }
  return filled;
}

ChunkSort restoring_sort(DispatchSetup const& setup, ChunkSort const& sort) {
  ChunkSort restore = inverse_of(sort);
  if (setup.restore == ChunkRestore::inverse) return restore;
  auto const world = to_size(setup.grid.world());
  SWITCHYARD_REQUIRE(sort.sizes.size() % world == 0, invalid_plan, "chunk sort of {} chunks on {} ranks",
                     sort.sizes.size(), world);
  auto const num_local = static_cast<std::int64_t>(sort.sizes.size() / world);
  std::vector<std::int64_t> const cut = chunk_order(setup.grid, num_local, RowOrder::rank_major);
  for (std::size_t i = 0; i < cut.size(); ++i) restore.sizes[i] = sort.sizes[to_size(cut[i])];
  return restore;
}

std::vector<std::int64_t> chunk_order(ExpertParallelGrid grid, std::int64_t num_local, RowOrder row_order) {
  std::vector<std::int64_t> order;
  order.reserve(to_size(num_local * grid.world()));
  for (std::int64_t local = 0; local < num_local; ++local) {
    for (int i = 0; i < grid.world(); ++i) {
      RankId const source = source_at(grid, row_order, i);
      order.push_back(chunk_index(grid, source, local, num_local));
    }
  }
  return order;
}

}  // namespace switchyard
