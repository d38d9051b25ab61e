// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/router_losses.hpp"

#include <cmath>
#include <limits>

#include "cuda_error.hpp"
#include "router_logits.hpp"
#include "router_loss_kernels.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/router_setup.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

constexpr std::int64_t kFloatBytes = sizeof(float);
constexpr std::int64_t kCountBytes = sizeof(std::int64_t);

void require_sizes(int num_experts, std::int64_t max_tokens, std::int64_t max_sequences) {
  constexpr std::int64_t kMostTokens = std::numeric_limits<std::int32_t>::max() - hd::kSumLanes;
  SWITCHYARD_REQUIRE(
      num_experts >= 1 && max_tokens >= 0 && max_tokens <= kMostTokens && max_sequences >= 1, invalid_argument,
      "losses of {} experts, {} tokens, {} sequences: give at least one expert and sequence, and at most "
      "{} tokens",
      num_experts, max_tokens, max_sequences, kMostTokens);
}

}  // namespace

struct RouterLosses::State {
  State(ScoreFunction given, int num_experts, std::int64_t most_tokens, std::int64_t most_sequences)
      : function(given),
        experts(num_experts),
        max_tokens(most_tokens),
        max_sequences(most_sequences),
        log_sums(checked_mul(most_tokens, kFloatBytes)),
        unmasked(kCountBytes),
        counts(checked_mul(checked_mul(most_sequences, num_experts), kCountBytes)),
        column_sums(checked_mul(checked_mul(most_sequences, num_experts), kFloatBytes)),
        losses(checked_mul(most_sequences, kFloatBytes)) {}

  [[nodiscard]] RouterLogits open(ConstTensorView const& logits) const {
    RouterLogits const rows = open_logits(logits, experts, hd::LogitRules{}, fault);
    require_tokens(rows.tokens);
    return rows;
  }
  void require_tokens(std::int64_t tokens) const {
    SWITCHYARD_REQUIRE(tokens >= 0 && tokens <= max_tokens, invalid_argument,
                       "a loss over {} tokens, its memory was made for {}", tokens, max_tokens);
  }
  void require_shape(SequenceShape shape) const {
    SWITCHYARD_REQUIRE(shape.seq_length >= 0 && shape.batch_size >= 0 && shape.batch_size <= max_sequences,
                       shape_mismatch, "{} sequences of {} tokens, the losses' memory was made for {}",
                       shape.batch_size, shape.seq_length, max_sequences);
    require_tokens(checked_mul(shape.seq_length, shape.batch_size));
  }
  /// Counts of every sequence on its own.
  void count_sequences(SequenceShape shape, int top_k, std::int32_t const* ids, StreamView stream);
  void count(CountParams params, StreamView stream) const;
  [[nodiscard]] float factor_of(BalanceLoss const& loss) const { return internal::balance_factor(loss, experts); }

  ScoreFunction function;
  int experts;
  std::int64_t max_tokens;
  std::int64_t max_sequences;
  int last_top_k = 1;  ///< for texts
  RouterFaultWord fault;
  DeviceBuffer log_sums;
  DeviceBuffer unmasked;
  DeviceBuffer counts;
  DeviceBuffer column_sums;
  DeviceBuffer losses;
};

void RouterLosses::State::count(CountParams params, StreamView stream) const {
  SWITCHYARD_REQUIRE(params.top_k >= 1, invalid_argument, "counts of a routing with top_k {}: it must be at least 1",
                     params.top_k);
  params.experts = experts;
  params.fault = fault.get();
  auto const bytes = static_cast<std::size_t>(params.sequences * experts * kCountBytes);
  SWITCHYARD_CUDA_TRY(cudaMemsetAsync(params.counts, 0, bytes, stream.handle()));
  launch_count(params, stream);
}

void RouterLosses::State::count_sequences(SequenceShape shape, int top_k, std::int32_t const* ids, StreamView stream) {
  last_top_k = top_k;
  CountParams params{};
  params.ids = ids;
  params.tokens = shape.seq_length * shape.batch_size;
  params.top_k = top_k;
  params.sequences = shape.batch_size;
  params.counts = counts.as<std::int64_t>();
  count(params, stream);
}

RouterLosses::RouterLosses(ScoreFunction function, int num_experts, std::int64_t max_tokens,
                           std::int64_t max_sequences) {
  require_sizes(num_experts, max_tokens, max_sequences);
  state_ = std::make_unique<State>(function, num_experts, max_tokens, max_sequences);
  std::int64_t const bytes = checked_mul(kLossRows * kFloatBytes, num_experts);
  std::int64_t const room = prepare_loss_kernels();
  SWITCHYARD_REQUIRE(bytes <= room, unsupported,
                     "losses of {} experts need {} bytes of shared memory for a token's rows, this device has {}: "
                     "compute them on the CPU",
                     num_experts, bytes, room);
  prepare_sum_kernels();
}
RouterLosses::~RouterLosses() = default;
RouterLosses::RouterLosses(RouterLosses&&) noexcept = default;
RouterLosses& RouterLosses::operator=(RouterLosses&&) noexcept = default;

void RouterLosses::scores(ConstTensorView const& logits, float* scores, StreamView stream) {
  launch_loss_scores({state_->open(logits), state_->function, state_->experts, scores}, stream);
}

void RouterLosses::count(std::int32_t const* ids, std::int64_t tokens, int top_k, std::int64_t* counts,
                         StreamView stream) {
  state_->require_tokens(tokens);
  state_->last_top_k = top_k;
  state_->count({ids, tokens, top_k, 0, 1, counts, nullptr}, stream);
}

void RouterLosses::balance(BalanceLoss const& loss, float const* scores, std::int64_t tokens,
                           std::int64_t const* counts, std::uint8_t const* mask, float* result, StreamView stream) {
  State const& state = *state_;
  state.require_tokens(tokens);
  launch_balance_sum({scores, tokens, state.experts, 1, mask, counts, state.factor_of(loss), false,
                      state.column_sums.as<float>(), state.losses.as<float>(), result, state.fault.get()},
                     stream);
}

void RouterLosses::balance_backward(BalanceLoss const& loss, ConstTensorView const& logits, std::int64_t const* counts,
                                    float loss_scale, std::uint8_t const* mask, float* d_logits, StreamView stream) {
  State const& state = *state_;
  launch_balance_gradient(
      {state.open(logits), state.function, state.experts, state.factor_of(loss), loss_scale, counts, 1, mask, d_logits},
      stream);
}

void RouterLosses::sequence_balance(double coefficient, int top_k, SequenceShape shape, float const* scores,
                                    std::int32_t const* ids, float* result, StreamView stream) {
  State& state = *state_;
  state.require_shape(shape);
  std::int64_t const tokens = shape.seq_length * shape.batch_size;
  if (tokens == 0) {
    SWITCHYARD_CUDA_TRY(cudaMemsetAsync(result, 0, sizeof(float), stream.handle()));
    return;
  }
  float const factor = state.factor_of({coefficient, top_k, shape.seq_length, shape.seq_length});
  state.count_sequences(shape, top_k, ids, stream);
  launch_balance_sum({scores, tokens, state.experts, shape.batch_size, nullptr, state.counts.as<std::int64_t const>(),
                      factor, true, state.column_sums.as<float>(), state.losses.as<float>(), result, state.fault.get()},
                     stream);
}

void RouterLosses::sequence_balance_backward(double coefficient, int top_k, SequenceShape shape,
                                             ConstTensorView const& logits, std::int32_t const* ids, float loss_scale,
                                             float* d_logits, StreamView stream) {
  State& state = *state_;
  state.require_shape(shape);
  RouterLogits const rows = state.open(logits);
  SWITCHYARD_REQUIRE(rows.tokens == shape.seq_length * shape.batch_size, shape_mismatch,
                     "{} sequences of {} tokens do not cover the {} tokens of the logits", shape.batch_size,
                     shape.seq_length, rows.tokens);
  if (rows.tokens == 0) return;
  float const factor = state.factor_of({coefficient, top_k, shape.seq_length, shape.seq_length});
  float const share = hd::div_rn(loss_scale, static_cast<float>(shape.batch_size));
  state.count_sequences(shape, top_k, ids, stream);
  launch_balance_gradient({rows, state.function, state.experts, factor, share, state.counts.as<std::int64_t const>(),
                           shape.batch_size, nullptr, d_logits},
                          stream);
}

void RouterLosses::z(double coefficient, ConstTensorView const& logits, std::uint8_t const* mask, float* result,
                     StreamView stream) {
  State const& state = *state_;
  RouterLogits const rows = state.open(logits);
  static_cast<void>(internal::loss_factor(coefficient, {}));
  launch_count_unmasked(mask, rows.tokens, state.unmasked.as<std::int64_t>(), stream);
  launch_log_sums({rows, state.experts, mask, state.log_sums.as<float>()}, stream);
  launch_z_sum(state.log_sums.as<float const>(), rows.tokens, coefficient, state.unmasked.as<std::int64_t const>(),
               result, stream);
}

void RouterLosses::z_backward(double coefficient, ConstTensorView const& logits, float loss_scale,
                              std::uint8_t const* mask, float* d_logits, StreamView stream) {
  State const& state = *state_;
  RouterLogits const rows = state.open(logits);
  double const numerator = hd::mul_rn(2.0, coefficient);
  static_cast<void>(internal::loss_factor(numerator, {}));
  launch_count_unmasked(mask, rows.tokens, state.unmasked.as<std::int64_t>(), stream);
  launch_z_gradient(
      {rows, state.experts, mask, numerator, state.unmasked.as<std::int64_t const>(), loss_scale, d_logits}, stream);
}

void RouterLosses::update_selection_bias(float* bias, std::int64_t const* counts, float rate, StreamView stream) {
  SWITCHYARD_REQUIRE(std::isfinite(rate) && rate >= 0.0F, invalid_argument,
                     "bias update rate {} must be finite and not negative", rate);
  launch_update_bias(bias, counts, state_->experts, rate, state_->fault.get(), stream);
}

void RouterLosses::check(StreamView stream) const {
  state_->fault.check({hd::LogitRules{}, state_->experts, state_->last_top_k}, stream);
}

void RouterLosses::forget_error(StreamView stream) {
  state_->fault.forget(stream);
}

}  // namespace switchyard::cuda
