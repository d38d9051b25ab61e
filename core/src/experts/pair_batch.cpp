// SPDX-License-Identifier: Apache-2.0
#include "switchyard/internal/pair_batch.hpp"

#include <array>
#include <string_view>

#include "switchyard/internal/expert_operands.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::internal {

void PairBatch::require_step(PrepareFinalize const* expected_owner, Step wanted) const {
  constexpr std::array<std::string_view, 7> kSteps = {"started",
                                                      "prepared",
                                                      "being finalised",
                                                      "finalised",
                                                      "behind finalize_backward",
                                                      "on its way backwards",
                                                      "through with its backward"};
  SWITCHYARD_REQUIRE(owner == expected_owner, invalid_argument,
                     "the batch was prepared by another object: each finalises its own");
  SWITCHYARD_REQUIRE(step == wanted, invalid_argument,
                     "the batch is {}, but the call is for one that is {}: call start and finish of prepare, then of "
                     "finalize, then the backwards of finalize and prepare, once each",
                     kSteps[static_cast<std::size_t>(step)], kSteps[static_cast<std::size_t>(wanted)]);
}

void PairBatch::set_format(PrepareTraits const& traits, PrepareShape const& shape, std::int64_t wire_row_bytes) {
  wire_row_bytes_ = wire_row_bytes;
  blocks_ = arrival_blocks;
  num_rows_ = arrival_rows;
  if (traits.output_format == RowFormat::standard) return;
  std::int64_t const max_rows = checked_mul(shape.max_tokens_per_rank.value_or(0), shape.num_dispatchers);
  std::vector<std::int64_t> counts;
  for (RowBlock const& block : arrival_blocks) counts.push_back(block.rows);
  blocks_ = batched_blocks(counts, max_rows);
  num_rows_ = checked_mul(shape.num_local_experts, max_rows);
}

void require_results(PrepareFinalize const& pair, PairBatch const& batch, FinalizeInputs const& inputs,
                     MemorySpace space) {
  PrepareShape const& shape = pair.shape();
  require_matrix(inputs.expert_rows, "expert rows", batch.num_rows(), shape.hidden, space);
  if (inputs.join_bias.shape().rank() == 0) return;
  require_matrix(inputs.join_bias, "join_bias", shape.num_local_experts, shape.hidden, space);
  SWITCHYARD_REQUIRE(shape.tp.size > 1, invalid_argument,
                     "a bias to add to joined partials, but {} has TP size 1: the experts add it themselves",
                     pair.traits().name);
}

DType require_result_dtype(PrepareFinalize const& pair, PairBatch const& batch, ConstTensorView const& rows) {
  int const tp = pair.shape().tp.size;
  DType const dtype = tp == 1 ? pair.traits().dtype : DType::f32;
  SWITCHYARD_REQUIRE(batch.num_rows() == 0 || rows.dtype() == dtype, shape_mismatch,
                     "{} rows for {} of {} rows with TP size {}, wanted {}", to_string(rows.dtype()),
                     pair.traits().name, to_string(pair.traits().dtype), tp, to_string(dtype));
  return dtype;
}

void require_finalize_backward(PrepareFinalize const& pair, PairBatch const& batch, FinalizeInputs const& inputs,
                               ConstTensorView const& d_output, TensorView const& d_expert_rows,
                               std::span<float const> d_weights, MemorySpace space) {
  SWITCHYARD_REQUIRE(pair.traits().quantize == QuantizeWhen::never, unsupported,
                     "a backward through rows that {} quantised: train on plain ones", pair.traits().name);
  require_results(pair, batch, inputs, space);
  std::int64_t const tokens = batch.routing->num_tokens();
  require_matrix(d_output, "d_output", tokens, pair.shape().hidden, space);
  require_matrix(d_expert_rows, "d_expert_rows", batch.num_rows(), pair.shape().hidden, space);
  std::int64_t const pairs = checked_mul(tokens, batch.routing->top_k());
  SWITCHYARD_REQUIRE(static_cast<std::int64_t>(d_weights.size()) == pairs, shape_mismatch,
                     "room for {} gradients of {} router weights", d_weights.size(), pairs);
}

}  // namespace switchyard::internal
