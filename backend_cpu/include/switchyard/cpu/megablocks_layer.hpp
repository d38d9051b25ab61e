// SPDX-License-Identifier: Apache-2.0
/// MegaBlocksLayer: MegaBlocks' MoE layer, from tokens to outputs and back: cast, router, ParallelMlp.
#pragma once

#include <vector>

#include "switchyard/cpu/parallel_mlp.hpp"
#include "switchyard/experts/megablocks_layer.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace switchyard::cpu {

/// One rank's call. Host memory; nothing of it is changed.
struct MegaBlocksLayerInputs {
  ConstTensorView tokens{};             ///< [T, H] f32, bf16 or f16; cast to the layer's dtype before anything else
  ConstTensorView router_weight{};      ///< [experts, H] f32, bf16 or f16, the same on all ranks
  ExpertWeights expert_weights{};       ///< as ParallelMlpInputs::weights
  ConstTensorView bias{};               ///< as ParallelMlpInputs::bias
  CounterRng const* jitter = nullptr;   ///< training with config.jitter_eps; null: no jitter, as in evaluation
  LoadBalancingLoss* losses = nullptr;  ///< where the layer leaves its counts and scores; null: it leaves none
  int layer = 0;                        ///< its number there
};

/// What a forward pass keeps for its backward.
struct MegaBlocksLayerStep {
  ParallelMlpStep experts{};
  std::vector<std::byte> tokens{};    ///< [T, H] of the layer's dtype
  std::vector<std::byte> jittered{};  ///< [T, H] what the router read, when it was something else
  std::vector<float> logits{};        ///< [T, experts] rounded
  RoutingMap chosen{};                ///< what the router chose, before a uniform assignment
};

/// Gradients of one rank; those without data are not computed.
struct MegaBlocksLayerGradients {
  ConstTensorView d_output{};    ///< [T, H] of the layer's dtype
  TensorView d_tokens{};         ///< [T, H] of the tokens' dtype; written completely
  TensorView d_router_weight{};  ///< [experts, H] f32: chains over tokens ascending; this rank's tokens only
  TensorView d_w1{};             ///< as ParallelMlpGradients
  TensorView d_w2{};
  TensorView d_bias{};
  LoadBalancingLoss const* losses = nullptr;  ///< complete; its gradient enters at the logits. Null: no such term
  int layer = 0;
  float loss_scale = 1.0F;
};

/// One object per rank and configuration; calls are collective.
///
/// Casting comes first, as in the peer, so that narrow rows are permuted and sent. Products of the router are chains of
/// fma over the hidden dimension ascending.
class MegaBlocksLayer {
 public:
  /// @param comm outlives the object. @throws as MegaBlocksLayerConfig::validate
  MegaBlocksLayer(Communicator& comm, MegaBlocksLayerConfig const& config);

  [[nodiscard]] MegaBlocksLayerConfig const& config() const noexcept { return config_; }
  [[nodiscard]] ParallelMlp& experts() noexcept { return experts_; }

  /// @param output [T, H] of the layer's dtype, written completely
  /// @return as ParallelMlp::forward: the bias that the caller has to add
  /// @throws Error{invalid_argument} for a NaN or +inf logit, naming token and expert, else as ParallelMlp::forward
  [[nodiscard]] ConstTensorView forward(MegaBlocksLayerInputs const& inputs, TensorView const& output,
                                        MegaBlocksLayerStep* step = nullptr);

  /// Logit gradients: route_backward(), plus those of the loss (one fp32 addition). Token gradients: those of the
  /// experts, of the layer's dtype, plus those of the router (chains over experts ascending, rounded to that dtype),
  /// added in fp32, rounded to that dtype, then cast to the tokens' dtype. Roundings count as the identity.
  /// A jitter's factors enter the router's part after its first rounding, rounded as in the forward pass.
  /// @param inputs those of the forward pass, jitter included
  /// @throws as ParallelMlp::backward, LoadBalancingLoss::logit_gradient
  void backward(MegaBlocksLayerStep const& step, MegaBlocksLayerInputs const& inputs,
                MegaBlocksLayerGradients const& gradients);

 private:
  void check_router(MegaBlocksLayerInputs const& inputs) const;
  [[nodiscard]] std::vector<float> logits_of(ConstTensorView const& tokens, ConstTensorView const& router_weight) const;
  [[nodiscard]] std::vector<float> logit_gradient(MegaBlocksLayerStep const& step, std::span<float const> d_weights,
                                                  MegaBlocksLayerGradients const& gradients) const;
  [[nodiscard]] std::vector<std::byte> jittered(ConstTensorView const& tokens, CounterRng const& random) const;
  void add_router_gradient(std::span<float const> d_logits, MegaBlocksLayerInputs const& inputs,
                           ConstTensorView const& d_experts, TensorView const& d_tokens) const;

  MegaBlocksLayerConfig config_;
  ParallelMlp experts_;
};

}  // namespace switchyard::cpu
