// SPDX-License-Identifier: Apache-2.0
// What a dispatcher of a plan's family would record: its own integers under the names of recorded_field_names().
#include <utility>

#include "switchyard/dispatch/megatron_metadata.hpp"
#include "switchyard/dispatch/recording.hpp"
#include "switchyard/dispatch/row_order.hpp"
#include "switchyard/dispatch/row_tags.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

using Ints = std::vector<std::int64_t>;

/// Collects fields; a family adds those that it has.
class Fields {
 public:
  void add(std::string_view name, Ints values) { fields_.push_back({std::string(name), std::move(values)}); }
  void add(std::string_view name, std::optional<Ints> values) {
    if (values) add(name, std::move(*values));
  }
  [[nodiscard]] std::vector<RecordedField> take() { return std::move(fields_); }

 private:
  std::vector<RecordedField> fields_;
};

void add_alltoall(Fields& fields, DispatchPlan const& plan) {
  if (plan.setup.row_order == RowOrder::rank_major && plan.capacity && plan.capacity->padded) return;
  MegatronMetadata metadata = megatron_metadata(plan);
  fields.add("num_out_tokens", Ints{metadata.num_out_tokens});
  fields.add("permutation", std::move(metadata.permutation));
  fields.add("input_splits", std::move(metadata.input_splits));
  fields.add("output_splits", std::move(metadata.output_splits));
  fields.add("output_splits_tp", std::move(metadata.output_splits_tp));
  fields.add("num_global_tokens_per_local_expert", std::move(metadata.num_global_tokens_per_local_expert));
  fields.add("sort_input_by_local_experts", std::move(metadata.sort_input_by_local_experts));
  fields.add("restore_output_by_local_experts", std::move(metadata.restore_output_by_local_experts));
}

void add_allgather(Fields& fields, DispatchPlan const& plan) {
  auto const* gather = plan.find<GroupGather>();
  fields.add("gathered_tokens", gather != nullptr ? gather->receive_rows : Ints{plan.num_tokens});
  fields.add("expansion", std::get<RowGather>(plan.stages.back()).token_of_row);
}

void add_splits(Fields& fields, DispatchPlan const& plan) {
  auto const* exchange = plan.find<RowExchange>();
  if (exchange == nullptr) return;
  fields.add("input_splits", exchange->send_rows);
  fields.add("output_splits", exchange->receive_rows);
}

void add_flex(Fields& fields, DispatchPlan const& plan) {
  auto const& unique = std::get<RowGather>(plan.stages.front());
  fields.add("num_out_tokens", Ints{static_cast<std::int64_t>(unique.token_of_row.size())});
  fields.add("permutation", unique.token_of_row);
  add_splits(fields, plan);
  fields.add("expansion", std::get<RowGather>(plan.stages.back()).token_of_row);
}

/// MegaBlocks' integers of a rank's own routing. The flat slots are known unless the source fills bins, which drop
/// some.
void add_indices(Fields& fields, DispatchPlan const& plan, RowGather const& gather) {
  Ints bin_ids;
  Ints bins;
  for (std::size_t slot = 0; slot < plan.rows_per_slot.size(); ++slot) {
    bin_ids.insert(bin_ids.end(), to_size(plan.rows_per_slot[slot]), static_cast<std::int64_t>(slot));
    bins.push_back(static_cast<std::int64_t>(bin_ids.size()));
  }
  if (plan.setup.bins == ExpertBins::exact || plan.setup.grid.world() > 1) {
    Ints indices;
    for (std::size_t row = 0; row < gather.token_of_row.size(); ++row)
      indices.push_back(gather.token_of_row[row] * plan.slot_columns + gather.slot_of_row[row]);
    fields.add("indices", std::move(indices));
  }
  fields.add("bin_ids", std::move(bin_ids));
  fields.add("bins", std::move(bins));
}

void add_megablocks(Fields& fields, std::span<DispatchPlan const> plans, DispatchPlan const& plan) {
  add_indices(fields, plan, std::get<RowGather>(plan.stages.front()));
  add_splits(fields, plan);
  if (plan.find<RowExchange>() != nullptr)
    fields.add("num_global_tokens_per_local_expert", arrivals_at(plans, plan.rank));
  for (std::size_t i = 1; i < plan.stages.size(); ++i) {
    auto const* gather = std::get_if<RowGather>(&plan.stages[i]);
    if (gather == nullptr) continue;
    bool const fills_bins = plan.setup.bins != ExpertBins::exact && i + 1 == plan.stages.size();
    fields.add(fills_bins ? "bin_rows" : "sort_rows", gather->token_of_row);
  }
}

}  // namespace

std::vector<RecordedField> reference_fields(std::span<DispatchPlan const> plans, RankId rank) {
  SWITCHYARD_REQUIRE(rank.value() >= 0 && rank.index() < plans.size(), shape_mismatch,
                     "a group of {} plans has no rank {}", plans.size(), rank.value());
  auto const& plan = plans[rank.index()];
  require_valid(plan);
  Fields fields;
  fields.add("rows_per_slot", plan.rows_per_slot);
  switch (plan.setup.family) {
    case DispatchFamily::megatron_alltoall: add_alltoall(fields, plan); break;
    case DispatchFamily::megatron_allgather: add_allgather(fields, plan); break;
    case DispatchFamily::megatron_flex: add_flex(fields, plan); break;
    case DispatchFamily::megablocks: add_megablocks(fields, plans, plan); break;
  }
  fields.add("tokens_per_local_expert", plan.tokens_per_local_expert);
  Ints tags;
  for (auto const& tag : expected_row_tags(plans, rank)) tags.insert(tags.end(), {tag.source.value(), tag.token});
  fields.add("row_tags", std::move(tags));
  return fields.take();
}

}  // namespace switchyard
