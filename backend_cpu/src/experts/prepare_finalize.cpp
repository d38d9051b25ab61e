// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/prepare_finalize.hpp"

#include <cstring>

#include "prepared_rows.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/experts/weight_and_reduce.hpp"
#include "switchyard/internal/prepare_pair.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

/// Tokens stay where they are; choices of other ranks' experts give nothing.
class LocalPrepare final : public CpuPrepare {
 public:
  LocalPrepare(std::vector<std::int32_t> expert_map, PrepareTraits traits, PrepareShape shape)
      : CpuPrepare(std::move(traits), shape), expert_map_(std::move(expert_map)) {}

 private:
  void send(CpuBatch& batch) override {
    auto const ids = batch.routing->ids();
    batch.grouping = group_rows(std::vector<std::int64_t>(ids.begin(), ids.end()), batch.routing->top_k(), expert_map_,
                                shape().num_local_experts);
    batch.arrival_blocks = batch.grouping.blocks();
    batch.arrival_rows = batch.grouping.num_rows();
  }

  void receive(CpuBatch& batch, TensorView const& arrival) override {
    std::int64_t const bytes = arrival.extent(1) * size_of(arrival.dtype());
    auto const tokens = batch.grouping.token_of_row();
    auto const* const from = static_cast<std::byte const*>(batch.sent.data());
    auto* const to = static_cast<std::byte*>(arrival.data());
    for (std::size_t row = 0; row < tokens.size(); ++row)
      std::memcpy(to + static_cast<std::int64_t>(row) * bytes, from + tokens[row] * bytes, to_size(bytes));
  }

  [[nodiscard]] static std::span<float const> weights_of(CpuBatch const& batch) {
    return batch.weighted_input ? std::span<float const>() : batch.routing->weights();
  }

  // Nothing travels: everything happens in the first half.
  void start_reduce(CpuBatch& batch, FinalizeInputs const& inputs) override {
    weight_and_reduce(WeightAndReduce::contiguous, batch.grouping, inputs.expert_rows, weights_of(batch), batch.output);
  }
  void finish_reduce(CpuBatch&) override {}

  void reduce_backward(CpuBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                       TensorView const& d_rows, std::span<float> d_weights) override {
    weight_and_reduce_backward(batch.grouping, inputs.expert_rows, weights_of(batch), d_output, d_rows, d_weights);
  }

  void start_send_backward(CpuBatch& batch, ConstTensorView const& d_rows) override {
    weight_and_reduce(WeightAndReduce::contiguous, batch.grouping, d_rows, {}, batch.output);
  }
  void finish_send_backward(CpuBatch&) override {}

  std::vector<std::int32_t> expert_map_;
};

/// Rows travel by a plan of one of the dispatchers.
class DispatchedPrepare final : public CpuPrepare {
 public:
  DispatchedPrepare(PrepareKind kind, Communicator& comm, ExpertPlacement const& placement,
                    PrepareOptions const& options, PrepareTraits traits, PrepareShape shape)
      : CpuPrepare(std::move(traits), shape),
        kind_(kind),
        comm_(comm),
        placement_(placement),
        options_(options),
        executor_(comm) {}

 private:
  void send(CpuBatch& batch) override {
    batch.plan_ = internal::plan_prepare(kind_, comm_, *batch.routing, placement_, options_);
    batch.arrival_blocks = standard_blocks(batch.plan_->tokens_per_local_expert);
    batch.arrival_rows = batch.plan_->num_expert_rows();
    require_supported(*batch.plan_, options_.recipe, CombineRoute::automatic);
    require_supported(*batch.plan_, options_.gradient_recipe, CombineRoute::automatic);
    executor_.start_dispatch(*batch.plan_, batch.sent);
  }

  void receive(CpuBatch& batch, TensorView const& arrival) override {
    executor_.finish_dispatch(*batch.plan_, arrival);
  }

  [[nodiscard]] static CombineInputs combine_inputs(CpuBatch const& batch, ConstTensorView const& bias) {
    CombineInputs inputs;
    inputs.weights = batch.routing->weights();
    inputs.experts = batch.routing->ids();
    inputs.weights_applied = batch.weighted_input;
    if (bias.shape().rank() > 0) inputs.join_bias = bias;
    return inputs;
  }

  void start_reduce(CpuBatch& batch, FinalizeInputs const& inputs) override {
    executor_.start_combine(*batch.plan_, options_.recipe, inputs.expert_rows, combine_inputs(batch, inputs.join_bias),
                            batch.output);
  }
  void finish_reduce(CpuBatch&) override { executor_.finish_combine(); }

  void reduce_backward(CpuBatch& batch, FinalizeInputs const& inputs, ConstTensorView const& d_output,
                       TensorView const& d_rows, std::span<float> d_weights) override {
    executor_.combine_backward(*batch.plan_, d_output, inputs.expert_rows, combine_inputs(batch, inputs.join_bias),
                               d_rows, d_weights);
  }

  void start_send_backward(CpuBatch& batch, ConstTensorView const& d_rows) override {
    CombineInputs inputs;
    inputs.experts = batch.routing->ids();
    inputs.weights_applied = true;
    executor_.start_combine(*batch.plan_, options_.gradient_recipe, d_rows, inputs, batch.output);
  }
  void finish_send_backward(CpuBatch&) override { executor_.finish_combine(); }

  PrepareKind kind_;
  Communicator& comm_;
  ExpertPlacement const& placement_;
  PrepareOptions options_;
  CpuExecutor executor_;
};

}  // namespace

std::unique_ptr<PrepareFinalize> make_prepare_finalize(PrepareKind kind, Communicator& comm,
                                                       ExpertPlacement const& placement,
                                                       PrepareOptions const& options) {
  internal::check_prepare_options(kind, comm, placement, options);
  PrepareTraits traits = prepare_traits(kind, options);
  PrepareShape const shape = internal::prepare_shape(kind, comm.rank(), placement, options);
  if (internal::is_local(kind))
    return std::make_unique<LocalPrepare>(internal::local_expert_map(placement, options.layer, comm.rank()),
                                          std::move(traits), shape);
  return std::make_unique<DispatchedPrepare>(kind, comm, placement, options, std::move(traits), shape);
}

}  // namespace switchyard::cpu
