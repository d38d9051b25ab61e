// SPDX-License-Identifier: Apache-2.0
/// MegaBlocksLayerConfig: MegaBlocks' MoE layer as data: its router in front of a ParallelMlp.
#pragma once

#include <optional>

#include "switchyard/experts/parallel_mlp.hpp"
#include "switchyard/routing/router.hpp"

namespace switchyard {

/// logits = tokens * router weight^T, scores = softmax over all experts, the top_k largest, their weights normalised or
/// not, then the experts. Source: megablocks layers/router.py LearnedRouter, layers/moe.py MoE.
struct MegaBlocksLayerConfig {
  ParallelMlpConfig experts{};
  /// moe_normalize_expert_weights: none, sum (p = 1) or l2 (p = 2); also for top-1, whose weight then is 1.
  Normalisation normalize_expert_weights = Normalisation::none;
  /// Where the router's values are rounded. None given: logits to the layer's dtype alone, as the peer under autocast;
  /// without autocast its scores are of that dtype as well.
  std::optional<RouterRounding> rounding{};
  /// moe_jitter_eps: in training the router reads tokens times factors in [1 - eps, 1 + eps]. Random bits are those of
  /// (seed, stream, token * hidden + column), so any rank can repeat another's.
  std::optional<double> jitter_eps{};
  /// Benchmarks: choice k of token t goes to expert (t * top_k + k) mod experts, with the weight of the real choice.
  bool uniform_expert_assignment = false;

  /// @throws what ParallelMlpConfig::validate and validate(RouterConfig) throw; Error{invalid_argument} for a jitter
  /// outside [0, 1)
  void validate() const;
  [[nodiscard]] RouterConfig router() const;
  friend bool operator==(MegaBlocksLayerConfig const&, MegaBlocksLayerConfig const&) = default;
};

/// @return the same tokens and weights, choices handed out to experts in turn. @throws Error{invalid_argument} for a
/// routing in dense form
[[nodiscard]] RoutingMap uniform_assignment(RoutingMap const& routing);

}  // namespace switchyard
