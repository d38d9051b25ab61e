// SPDX-License-Identifier: Apache-2.0
/// LoadBalancingLoss: what a forward pass's MoE layers leave behind for MegaBlocks' batched load-balancing loss, in an
/// object that the caller owns, where MegaBlocks has a list in its module.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "switchyard/routing/losses.hpp"

namespace switchyard {

/// The model around the loss; MegaBlocks' Arguments of the same names.
struct LoadBalancingConfig {
  int num_experts = 1;
  int top_k = 1;
  int num_layers = 1;       ///< MoE layers of the whole model, so that the losses of pipeline stages add up
  int pipeline_stages = 1;  ///< pipeline_model_parallel_size: stages hold num_layers / pipeline_stages layers each
  std::optional<int> layers_per_virtual_stage{};  ///< replaces that quotient (interleaved schedules)
  double loss_weight = 0.1;
  /// exact_fp32 is moe_lbl_in_fp32; the other one rounds counts to bf16 as the peer does with bf16 scores.
  CountRounding count_rounding = CountRounding::exact_fp32;

  /// Layers that save before the loss is taken.
  [[nodiscard]] int layers_per_stage() const noexcept;
  /// @throws Error{invalid_argument} naming the field: a number below 1, more layers per stage than in the model,
  /// layers that the stages do not share equally, a weight that is not finite.
  void validate() const;
  friend bool operator==(LoadBalancingConfig const&, LoadBalancingConfig const&) = default;
};

/// Layers save, the caller takes the loss and its gradients and clears. One object per micro-batch that is under way;
/// not to be used by two threads at once.
///
///   loss = experts * loss_weight / (num_layers * tokens * top_k)
///            * sum over (layer, expert), ascending, of tokens_per_expert * (mean over tokens of scores)
/// in the roundings of batched_balance_loss(). Layers have numbers here, so neither the order in which they save nor a
/// layer that saves twice can change the sum; MegaBlocks appends, and recomputing activations lets its list grow.
/// Source: megablocks layers/moe.py batched_load_balancing_loss.
class LoadBalancingLoss {
 public:
  /// @throws what LoadBalancingConfig::validate throws
  explicit LoadBalancingLoss(LoadBalancingConfig const& config);

  [[nodiscard]] LoadBalancingConfig const& config() const noexcept { return config_; }

  /// Copies both.
  /// @param layer of this stage, [0, layers_per_stage())
  /// @param tokens_per_expert [experts] this rank's choices before any drop
  /// @param scores [tokens * experts] the router's probabilities of this rank's tokens
  /// @throws Error{invalid_argument} for a layer outside the stage or saved before, a negative count, more choices than
  /// tokens * top_k; Error{shape_mismatch} for lengths, or another number of tokens than the layers saved before (both
  /// layers and numbers named). Nothing is saved then.
  void save(int layer, std::span<std::int64_t const> tokens_per_expert, std::span<float const> scores);
  /// Forgets all layers: the next micro-batch begins.
  void clear() noexcept;
  [[nodiscard]] int num_saved() const noexcept { return num_saved_; }

  /// This stage's share, of this rank's tokens; 0 without tokens.
  /// @throws Error{invalid_argument} unless every layer of the stage has saved, naming the first that has not
  [[nodiscard]] float loss() const;
  /// MegaBlocks' loss of one layer alone, unweighted: experts / (tokens * top_k) * dot(counts, mean scores).
  /// @throws Error{invalid_argument} for a layer that has not saved
  [[nodiscard]] float layer_loss(int layer) const;

  /// @return [experts] gradient of loss_scale * loss() at the scores of each token of `layer`, equal for all tokens
  /// @throws as loss() and layer_loss()
  [[nodiscard]] std::vector<float> score_gradient(int layer, float loss_scale = 1.0F) const;
  /// @return [tokens * experts] the same at the logits whose softmax over all experts the scores are:
  /// p_i * (g_i - sum_j g_j p_j), the sum in lane32 order
  /// @throws as score_gradient()
  [[nodiscard]] std::vector<float> logit_gradient(int layer, float loss_scale = 1.0F) const;

 private:
  struct Entry {
    std::vector<std::int64_t> counts;
    std::vector<float> scores;
  };
  [[nodiscard]] Entry const& saved(int layer) const;
  [[nodiscard]] std::vector<LayerBalance> all_layers() const;
  void check_entry(int layer, std::span<std::int64_t const> counts, std::span<float const> scores) const;

  LoadBalancingConfig config_;
  std::vector<std::optional<Entry>> entries_;
  int num_saved_ = 0;
};

}  // namespace switchyard
