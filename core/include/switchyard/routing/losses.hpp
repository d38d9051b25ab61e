// SPDX-License-Identifier: Apache-2.0
/// Auxiliary losses of the router: load balance per batch (switch), per sequence and over a window, and the z loss.
///
/// All float sums run in lane32 order over the index named with them; counts are integers and are summed over ranks and
/// micro-batches before they come here. A factor is computed in fp64 from left to right and rounded to fp32 once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "switchyard/routing/routing_map.hpp"
#include "switchyard/types/score_function.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard {

/// @return [experts] how many tokens chose each expert; a token that names an expert twice counts twice.
[[nodiscard]] std::vector<std::int64_t> tokens_per_expert(RoutingMap const& routing);

/// Which tokens a loss sees: [tokens] of 0 (padding) and 1; empty = all. A masked token keeps its place in the order of
/// a sum, so that masking never changes which lane another token falls into.
using TokenMask = std::span<std::uint8_t const>;

/// The scores that a balance loss averages: softmax over all experts for both softmax kinds; sigmoid and sqrt_softplus
/// scores divided by (their sum + 1e-20). No bias, no groups, no rounding (newest Megatron; older ones take the plain
/// softmax whatever the score function).
/// @param logits [tokens, experts] f32, bf16 or f16, contiguous, host; NaN and +inf are refused
/// @return [tokens * experts]
[[nodiscard]] std::vector<float> loss_scores(ScoreFunction function, ConstTensorView logits);

/// A load-balance loss: coefficient * experts / (top_k * counted_tokens * averaged_tokens)
///   * sum over e of (sum over this rank's tokens of score[t, e]) * counts[e].
/// Megatron's aux loss: counts summed over the tp-cp group, both token numbers = tokens of that group. Every rank gets
/// its own share; shares add up over ranks. MegaBlocks' loss of one layer: counts and tokens of this rank alone.
struct BalanceLoss {
  double coefficient = 0.0;
  int top_k = 1;
  std::int64_t counted_tokens = 0;   ///< tokens whose choices `counts` holds
  std::int64_t averaged_tokens = 0;  ///< tokens that the score sums are divided by
  friend bool operator==(BalanceLoss const&, BalanceLoss const&) = default;
};

/// @param scores [tokens * experts]; sum over tokens, token ascending; then over experts, expert ascending
/// @param counts [experts]; whether before or after dropping is the caller's choice (Megatron: before)
/// @return the loss; 0 without tokens. Counts above 2^24 are rounded to fp32 once each.
/// @throws Error{shape_mismatch} for lengths, Error{invalid_argument} for a negative count or token number, top_k < 1.
[[nodiscard]] float balance_loss(BalanceLoss const& loss, std::span<float const> scores,
                                 std::span<std::int64_t const> counts, TokenMask mask = {});

/// Gradient of loss_scale * balance_loss(loss, loss_scores(function, logits), counts, mask) at the logits.
/// @return [tokens * experts]; zeros for masked tokens
[[nodiscard]] std::vector<float> balance_loss_backward(BalanceLoss const& loss, ScoreFunction function,
                                                       ConstTensorView logits, std::span<std::int64_t const> counts,
                                                       float loss_scale = 1.0F, TokenMask mask = {});

/// Tokens of a batch of sequences, batch fastest: token = position * batch_size + sequence.
struct SequenceShape {
  std::int64_t seq_length = 0;
  std::int64_t batch_size = 0;
  friend bool operator==(SequenceShape const&, SequenceShape const&) = default;
};

/// Megatron's seq_aux loss: the balance loss of every sequence with its own counts and length, averaged over the batch:
/// (sum over sequences, sequence ascending) / batch_size. 0 without tokens.
/// @throws Error{shape_mismatch} unless the shape covers the routing's tokens and `scores` has tokens * experts
/// entries.
[[nodiscard]] float sequence_balance_loss(double coefficient, int top_k, SequenceShape shape,
                                          std::span<float const> scores, RoutingMap const& routing);
[[nodiscard]] std::vector<float> sequence_balance_loss_backward(double coefficient, int top_k, SequenceShape shape,
                                                                ScoreFunction function, ConstTensorView logits,
                                                                RoutingMap const& routing, float loss_scale = 1.0F);

/// Counts over an accumulation window, for the global aux loss. Integer sums: the order of calls does not matter.
class CountWindow {
 public:
  /// How micro-batches of different token numbers are weighed.
  enum class Weighing : std::uint8_t {
    by_token,  ///< counts / tokens of the whole window: every token weighs the same
    by_step,   ///< Megatron: counts / number of steps, normalised by the current step's tokens. Equal to by_token only
               ///< while all steps hold equally many tokens
  };
  explicit CountWindow(int num_experts);
  /// Adds one step: counts and tokens summed over all ranks. @throws Error{shape_mismatch} or Error{invalid_argument}
  /// (negative, overflow).
  void add(std::span<std::int64_t const> counts, std::int64_t tokens);
  [[nodiscard]] std::span<std::int64_t const> counts() const noexcept { return counts_; }
  /// @param step_tokens tokens of the current step over all ranks
  [[nodiscard]] BalanceLoss loss(double coefficient, int top_k, std::int64_t step_tokens, Weighing weighing) const;

 private:
  std::vector<std::int64_t> counts_;
  std::int64_t tokens_ = 0;
  std::int64_t steps_ = 0;
};

/// coefficient * mean over unmasked tokens of (log sum exp of the logits)^2; divide the coefficient by the number of
/// ranks that hold the same tokens (Megatron: the tp-cp group). Sum over tokens, token ascending. 0 without tokens.
/// @throws Error{invalid_argument} for a NaN or +inf logit, or a token whose logits are all -inf.
[[nodiscard]] float z_loss(double coefficient, ConstTensorView logits, TokenMask mask = {});
/// Gradient of loss_scale * z_loss at the logits: (2 * coefficient / tokens * lse) * loss_scale * softmax.
[[nodiscard]] std::vector<float> z_loss_backward(double coefficient, ConstTensorView logits, float loss_scale = 1.0F,
                                                 TokenMask mask = {});

/// One layer of MegaBlocks' batched loss.
struct LayerBalance {
  std::span<std::int64_t const> counts;  ///< [experts] this rank's, before dropping
  std::span<float const> scores;         ///< [tokens * experts]
};

/// How counts enter MegaBlocks' product with the scores.
enum class CountRounding : std::uint8_t {
  exact_fp32,      ///< rounded to fp32, exact up to 2^24
  megablocks_bf16  ///< the peer with bf16 scores: counts above 256 lose their low bits
};

/// MegaBlocks' batched_load_balancing_loss: experts * weight / (num_layers_total * tokens * top_k)
///   * sum over (layer, expert), ascending, of counts * (mean over tokens of score).
/// @param layers the layers of this pipeline stage; num_layers_total those of the whole model, so that stages add up
/// @throws Error{shape_mismatch} when layers differ in their shapes, Error{invalid_argument} for negative counts,
/// top_k < 1, fewer layers in total than given.
[[nodiscard]] float batched_balance_loss(std::span<LayerBalance const> layers, int num_layers_total, int top_k,
                                         double weight, CountRounding rounding = CountRounding::exact_fp32);
/// @return [experts] gradient of loss_scale * the loss at every token's scores of `layer` (the same for all tokens)
[[nodiscard]] std::vector<float> batched_balance_loss_gradient(std::span<LayerBalance const> layers, int layer,
                                                               int num_layers_total, int top_k, double weight,
                                                               float loss_scale = 1.0F,
                                                               CountRounding rounding = CountRounding::exact_fp32);

}  // namespace switchyard
