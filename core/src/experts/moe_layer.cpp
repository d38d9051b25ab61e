// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/moe_layer.hpp"

#include <algorithm>
#include <utility>

#include "switchyard/experts/expert_gradient.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

/// The parts of a step's memory; counted and bound by the same lines.
struct StepMemory {
  std::span<std::byte> rows;
  std::span<std::byte> outputs;
  std::span<std::byte> scratch;
};

/// Plain rows become the experts' outputs where they lie, unless a backward reads them; a TP rank's are f32 partials,
/// and codes are narrower.
bool in_place(PrepareTraits const& traits, ExpertMlp const& mlp, bool keep_rows) noexcept {
  return traits.quantize == QuantizeWhen::never && mlp.tp.size == 1 && !keep_rows;
}

DType result_dtype(ExpertMlp const& mlp) noexcept {
  return mlp.tp.size == 1 ? mlp.dtype : DType::f32;
}

std::int64_t largest_block(PreparedBatch const& batch) noexcept {
  std::int64_t largest = 0;
  for (RowBlock const& block : batch.blocks()) largest = std::max(largest, block.rows);
  return largest;
}

StepMemory take_memory(Workspace& arena, PrepareFinalize const& prepare, Experts const& experts,
                       PreparedBatch const& batch, bool keep_rows) {
  ExpertMlp const& mlp = experts.mlp();
  std::int64_t const row_bytes = checked_mul(mlp.hidden, size_of(result_dtype(mlp)));
  StepMemory memory;
  memory.rows = arena.take<std::byte>("prepared rows", prepare.prepared_bytes(batch));
  if (!in_place(prepare.traits(), mlp, keep_rows))
    memory.outputs = arena.take<std::byte>("expert outputs", checked_mul(batch.num_rows(), row_bytes));
  memory.scratch = arena.take<std::byte>("experts", experts.workspace_bytes(largest_block(batch)));
  return memory;
}

/// [experts, rows, columns] of a plain weight, however its leading extents are written: 3-D only says both.
void require_cube(ConstTensorView const& weight, std::string_view name) {
  SWITCHYARD_REQUIRE(weight.shape().rank() == 3, shape_mismatch,
                     "{} has {} dimensions: problem sizes are read from [experts, rows, columns]", name,
                     weight.shape().rank());
}

}  // namespace

MoeProblem problem_of(ExpertWeights const& weights) {
  MoeProblem problem;
  std::int64_t seconds = 0;
  if (weights.w1_codes.empty()) {
    require_cube(weights.w1, "w1");
    problem.local_experts = weights.w1.extent(0);
    problem.first_outputs = weights.w1.extent(1);
  } else {
    problem.local_experts = static_cast<std::int64_t>(weights.w1_codes.size());
    problem.first_outputs = weights.w1_codes.front().rows;
  }
  if (weights.w2_codes.empty()) {
    require_cube(weights.w2, "w2");
    seconds = weights.w2.extent(0);
    problem.hidden = weights.w2.extent(1);
  } else {
    seconds = static_cast<std::int64_t>(weights.w2_codes.size());
    problem.hidden = weights.w2_codes.front().rows;
  }
  SWITCHYARD_REQUIRE(problem.local_experts == seconds, shape_mismatch, "w1 holds {} experts, w2 {}",
                     problem.local_experts, seconds);
  return problem;
}

MoeLayer::MoeLayer(PrepareFinalize& prepare, Experts const& experts, ExpertsTraits const& traits,
                   MoeLayerOptions options)
    : prepare_(prepare), experts_(experts), options_(options) {
  auto const problems = composition_problems(prepare, experts, traits, options);
  SWITCHYARD_REQUIRE(problems.empty(), invalid_argument, "{} and {} make no layer: {}", prepare.traits().name,
                     experts.name(), fmt::join(problems, "; "));
}

void MoeLayer::check_weights(ExpertWeights const& weights) const {
  ExpertMlp const& mlp = experts_.mlp();
  if (mlp.num_local_experts == 0) return;
  MoeProblem const problem = problem_of(weights);
  MoeProblem const wanted{mlp.num_local_experts, mlp.first_layer_outputs(), mlp.hidden};
  SWITCHYARD_REQUIRE(problem == wanted, shape_mismatch,
                     "weights of {} experts, {} first outputs and hidden size {}; the experts compute {}, {} and {}",
                     problem.local_experts, problem.first_outputs, problem.hidden, wanted.local_experts,
                     wanted.first_outputs, wanted.hidden);
}

MoeStep MoeLayer::start(ConstTensorView const& tokens, RoutingMap const& routing) {
  MoeStep step;
  step.batch_ = prepare_.start_prepare({tokens, &routing, options_.router_weight_on_input, options_.a1_scale});
  return step;
}

WorkspaceMemory MoeLayer::take_free_memory() {
  if (free_memory_.empty()) return WorkspaceMemory(options_.memory);
  WorkspaceMemory memory = std::move(free_memory_.back());
  free_memory_.pop_back();
  return memory;
}

void MoeLayer::receive(MoeStep& step) {
  MemorySpace const space = options_.memory == nullptr ? MemorySpace::host : options_.memory->space();
  step.memory_ = take_free_memory();
  Workspace counting;
  static_cast<void>(take_memory(counting, prepare_, experts_, *step.batch_, step.keep_rows_));
  Workspace arena(step.memory_.reserve(counting.bytes()));
  StepMemory const memory = take_memory(arena, prepare_, experts_, *step.batch_, step.keep_rows_);
  step.parts_ = arena.parts();
  step.scratch_ = memory.scratch;
  step.rows_ = prepare_.finish_prepare(*step.batch_, memory.rows);
  ExpertMlp const& mlp = experts_.mlp();
  step.results_ =
      in_place(prepare_.traits(), mlp, step.keep_rows_)
          ? step.rows_.rows
          : TensorView(memory.outputs.data(), result_dtype(mlp), {step.batch_->num_rows(), mlp.hidden}, space);
}

void MoeLayer::compute(MoeStep& step, ExpertWeights const& weights) const {
  check_weights(weights);
  ExpertCall call;
  call.rows = step.rows_.rows;
  if (step.rows_.codes) call.row_codes = &*step.rows_.codes;
  call.blocks = step.batch_->blocks();
  call.weights = weights;
  call.output = step.results_;
  if (!step.rows_.codes) call.a1_scale = options_.a1_scale;
  call.a2_scale = options_.a2_scale;
  experts_.apply(call, step.scratch_);
  if (experts_.mlp().tp.size > 1) step.join_bias_ = weights.b2;
}

void MoeLayer::start_finalize(MoeStep& step, TensorView const& output) {
  SWITCHYARD_REQUIRE(!step.keep_rows_ || !options_.router_weight_on_input || output.data() == nullptr ||
                         output.data() != step.tokens_.data(),
                     invalid_argument,
                     "the output is written over tokens that the backward of router weights on the input reads: give "
                     "it memory of its own");
  prepare_.start_finalize(*step.batch_, {step.results_, step.join_bias_}, output);
}

void MoeLayer::finish_finalize(MoeStep& step) {
  prepare_.finish_finalize(*step.batch_);
  if (!step.keep_rows_) free_memory_.push_back(std::move(step.memory_));
}

void MoeLayer::forward(ConstTensorView const& tokens, RoutingMap const& routing, ExpertWeights const& weights,
                       TensorView const& output) {
  check_weights(weights);
  MoeStep step = start(tokens, routing);
  receive(step);
  compute(step, weights);
  start_finalize(step, output);
  finish_finalize(step);
}

MoeStep MoeLayer::start_training(ConstTensorView const& tokens, RoutingMap const& routing) {
  ExpertMlp const& mlp = experts_.mlp();
  SWITCHYARD_REQUIRE(expert_backward(experts_) != nullptr, unsupported, "{} experts have no backward", experts_.name());
  SWITCHYARD_REQUIRE(prepare_.traits().quantize == QuantizeWhen::never && !mlp.input_quant && !mlp.activation_quant,
                     unsupported, "a backward through rows that {} or {} quantises: train on plain ones",
                     prepare_.traits().name, experts_.name());
  MoeStep step = start(tokens, routing);
  step.keep_rows_ = true;
  step.tokens_ = tokens;
  return step;
}

MoeContext MoeLayer::keep(MoeStep&& step) const {
  SWITCHYARD_REQUIRE(step.keep_rows_, invalid_argument,
                     "the step was begun by start(), its rows are gone: begin it with start_training()");
  return MoeContext(std::move(step));
}

MoeContext MoeLayer::forward_training(ConstTensorView const& tokens, RoutingMap const& routing,
                                      ExpertWeights const& weights, TensorView const& output) {
  check_weights(weights);
  MoeStep step = start_training(tokens, routing);
  receive(step);
  compute(step, weights);
  start_finalize(step, output);
  finish_finalize(step);
  return keep(std::move(step));
}

}  // namespace switchyard
