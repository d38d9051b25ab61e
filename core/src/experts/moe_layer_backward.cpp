// SPDX-License-Identifier: Apache-2.0
// The backward of a MoeLayer: finalize, experts and prepare again, in reverse.
#include <algorithm>
#include <utility>

#include "switchyard/experts/expert_gradient.hpp"
#include "switchyard/experts/moe_layer.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

/// The parts of a backward's memory; counted and bound by the same lines.
struct GradientMemory {
  std::span<std::byte> d_results;
  std::span<std::byte> d_rows;  ///< none at TP size 1: the results' gradients become the rows' where they lie
  std::span<std::byte> scratch;
};

GradientMemory take_memory(Workspace& arena, Experts const& experts, PreparedBatch const& batch) {
  ExpertMlp const& mlp = experts.mlp();
  std::int64_t const elements = checked_mul(batch.num_rows(), mlp.hidden);
  std::int64_t largest = 0;
  for (RowBlock const& block : batch.blocks()) largest = std::max(largest, block.rows);
  GradientMemory memory;
  memory.d_results = arena.take<std::byte>("gradients of expert outputs", checked_mul(elements, size_of(mlp.dtype)));
  if (mlp.tp.size > 1)
    memory.d_rows = arena.take<std::byte>("gradients of rows", checked_mul(elements, size_of(DType::f32)));
  memory.scratch =
      arena.take<std::byte>("experts, backward", expert_backward(experts)->backward_workspace_bytes(largest));
  return memory;
}

}  // namespace

void MoeLayer::receive_gradients(MoeContext& context, ConstTensorView const& d_output, MoeGradients const& gradients) {
  MoeStep& step = context.step_;
  SWITCHYARD_REQUIRE(step.batch_ != nullptr, invalid_argument, "the context's backward is over: run a forward again");
  MemorySpace const space = options_.memory == nullptr ? MemorySpace::host : options_.memory->space();
  context.memory_ = take_free_memory();
  Workspace counting;
  static_cast<void>(take_memory(counting, experts_, *step.batch_));
  Workspace arena(context.memory_.reserve(counting.bytes()));
  GradientMemory const memory = take_memory(arena, experts_, *step.batch_);
  ExpertMlp const& mlp = experts_.mlp();
  TensorShape const shape{step.batch_->num_rows(), mlp.hidden};
  context.parts_ = arena.parts();
  context.scratch_ = memory.scratch;
  context.d_results_ = {memory.d_results.data(), mlp.dtype, shape, space};
  context.d_rows_ = mlp.tp.size == 1 ? context.d_results_ : TensorView(memory.d_rows.data(), DType::f32, shape, space);
  context.d_router_weights_ = gradients.d_router_weights;
  prepare_.finalize_backward(*step.batch_, {step.results_, step.join_bias_}, d_output, context.d_results_,
                             context.d_router_weights_);
}

void MoeLayer::compute_gradients(MoeContext& context, ExpertWeights const& weights,
                                 MoeGradients const& gradients) const {
  check_weights(weights);
  ExpertGradientCall call;
  call.forward.rows = context.step_.rows_.rows;
  call.forward.blocks = context.step_.batch_->blocks();
  call.forward.weights = weights;
  call.d_output = context.d_results_;
  call.d_rows = context.d_rows_;
  call.d_w1 = gradients.d_w1;
  call.d_w2 = gradients.d_w2;
  call.d_b1 = gradients.d_b1;
  call.d_b2 = gradients.d_b2;
  expert_backward(experts_)->backward(call, context.scratch_);
}

void MoeLayer::start_token_gradients(MoeContext& context, MoeGradients const& gradients) {
  prepare_.start_prepare_backward(*context.step_.batch_, context.d_rows_, gradients.d_tokens);
}

void MoeLayer::finish_token_gradients(MoeContext& context) {
  prepare_.finish_prepare_backward(*context.step_.batch_, context.d_router_weights_);
  context.step_.batch_.reset();
  free_memory_.push_back(std::move(context.memory_));
  free_memory_.push_back(std::move(context.step_.memory_));
}

void MoeLayer::backward(MoeContext& context, ConstTensorView const& d_output, ExpertWeights const& weights,
                        MoeGradients const& gradients) {
  receive_gradients(context, d_output, gradients);
  compute_gradients(context, weights, gradients);
  start_token_gradients(context, gradients);
  finish_token_gradients(context);
}

}  // namespace switchyard
