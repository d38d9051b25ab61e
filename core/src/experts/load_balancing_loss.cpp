// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/load_balancing_loss.hpp"

#include <algorithm>
#include <cmath>

#include "switchyard/hd/float_env.hpp"
#include "switchyard/hd/softmax.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {

int LoadBalancingConfig::layers_per_stage() const noexcept {
  return layers_per_virtual_stage ? *layers_per_virtual_stage : num_layers / pipeline_stages;
}

void LoadBalancingConfig::validate() const {
  SWITCHYARD_REQUIRE(num_experts >= 1 && top_k >= 1 && num_layers >= 1 && pipeline_stages >= 1, invalid_argument,
                     "load-balancing loss over {} experts, top-{}, {} layers and {} pipeline stages: each must be at "
                     "least 1",
                     num_experts, top_k, num_layers, pipeline_stages);
  SWITCHYARD_REQUIRE(layers_per_virtual_stage || num_layers % pipeline_stages == 0, invalid_argument,
                     "{} layers on {} pipeline stages: stages would hold different numbers of layers; give "
                     "layers_per_virtual_stage",
                     num_layers, pipeline_stages);
  int const own = layers_per_stage();
  SWITCHYARD_REQUIRE(own >= 1 && own <= num_layers, invalid_argument,
                     "{} layers per stage of a model with {} layers: num_layers counts the whole model", own,
                     num_layers);
  SWITCHYARD_REQUIRE(std::isfinite(loss_weight), invalid_argument, "loss weight {} must be finite", loss_weight);
}

LoadBalancingLoss::LoadBalancingLoss(LoadBalancingConfig const& config) : config_(config) {
  config_.validate();
  entries_.resize(to_size(config_.layers_per_stage()));
}

void LoadBalancingLoss::check_entry(int layer, std::span<std::int64_t const> counts,
                                    std::span<float const> scores) const {
  auto const experts = to_size(config_.num_experts);
  SWITCHYARD_REQUIRE(counts.size() == experts && scores.size() % experts == 0, shape_mismatch,
                     "layer {} saves {} counts and {} scores: {} experts need one count each and [tokens, experts] "
                     "scores",
                     layer, counts.size(), scores.size(), experts);
  std::int64_t choices = 0;
  for (std::size_t expert = 0; expert < experts; ++expert) {
    SWITCHYARD_REQUIRE(counts[expert] >= 0, invalid_argument, "layer {} counts {} tokens for expert {}", layer,
                       counts[expert], expert);
    choices = checked_add(choices, counts[expert]);
  }
  auto const tokens = static_cast<std::int64_t>(scores.size() / experts);
  SWITCHYARD_REQUIRE(choices <= checked_mul(tokens, config_.top_k), invalid_argument,
                     "layer {} counts {} choices of {} tokens with top-{}: pass this rank's counts, not those of a "
                     "group or of several steps",
                     layer, choices, tokens, config_.top_k);
  for (std::size_t other = 0; other < entries_.size(); ++other)
    SWITCHYARD_REQUIRE(!entries_[other] || entries_[other]->scores.size() == scores.size(), shape_mismatch,
                       "layer {} saves {} tokens, layer {} saved {}: all layers of one loss see the same micro-batch; "
                       "clear() between micro-batches",
                       layer, tokens, other, entries_[other]->scores.size() / experts);
}

void LoadBalancingLoss::save(int layer, std::span<std::int64_t const> tokens_per_expert,
                             std::span<float const> scores) {
  SWITCHYARD_REQUIRE(layer >= 0 && to_size(layer) < entries_.size(), invalid_argument,
                     "layer {} saves for a load-balancing loss over {} layers: number the layers of this stage from 0",
                     layer, entries_.size());
  auto& entry = entries_[to_size(layer)];
  SWITCHYARD_REQUIRE(!entry, invalid_argument,
                     "layer {} saves for a load-balancing loss twice: clear() after every micro-batch, and let a "
                     "recomputation of activations save nothing",
                     layer);
  check_entry(layer, tokens_per_expert, scores);
  entry = Entry{{tokens_per_expert.begin(), tokens_per_expert.end()}, {scores.begin(), scores.end()}};
  ++num_saved_;
}

void LoadBalancingLoss::clear() noexcept {
  for (auto& entry : entries_) entry.reset();
  num_saved_ = 0;
}

LoadBalancingLoss::Entry const& LoadBalancingLoss::saved(int layer) const {
  SWITCHYARD_REQUIRE(layer >= 0 && to_size(layer) < entries_.size() && entries_[to_size(layer)], invalid_argument,
                     "layer {} of {} has saved nothing for the load-balancing loss", layer, entries_.size());
  return *entries_[to_size(layer)];
}

std::vector<LayerBalance> LoadBalancingLoss::all_layers() const {
  std::vector<LayerBalance> layers;
  for (std::size_t layer = 0; layer < entries_.size(); ++layer) {
    SWITCHYARD_REQUIRE(entries_[layer], invalid_argument,
                       "{} of {} layers have saved for the load-balancing loss, layer {} has not: num_layers ({}), "
                       "pipeline_stages ({}) and layers_per_virtual_stage must describe this stage's MoE layers",
                       num_saved_, entries_.size(), layer, config_.num_layers, config_.pipeline_stages);
    layers.push_back({entries_[layer]->counts, entries_[layer]->scores});
  }
  return layers;
}

float LoadBalancingLoss::loss() const {
  hd::FloatEnvGuard const float_env;
  return batched_balance_loss(all_layers(), config_.num_layers, config_.top_k, config_.loss_weight,
                              config_.count_rounding);
}

float LoadBalancingLoss::layer_loss(int layer) const {
  hd::FloatEnvGuard const float_env;
  Entry const& entry = saved(layer);
  LayerBalance const one{entry.counts, entry.scores};
  return batched_balance_loss({&one, 1}, 1, config_.top_k, 1.0, config_.count_rounding);
}

std::vector<float> LoadBalancingLoss::score_gradient(int layer, float loss_scale) const {
  hd::FloatEnvGuard const float_env;
  static_cast<void>(saved(layer));
  return batched_balance_loss_gradient(all_layers(), layer, config_.num_layers, config_.top_k, config_.loss_weight,
                                       loss_scale, config_.count_rounding);
}

std::vector<float> LoadBalancingLoss::logit_gradient(int layer, float loss_scale) const {
  std::vector<float> const at_scores = score_gradient(layer, loss_scale);
  std::vector<float> const& scores = saved(layer).scores;
  hd::FloatEnvGuard const float_env;
  std::vector<float> gradient(scores.size());
  for (std::size_t first = 0; first < scores.size(); first += at_scores.size())
    hd::softmax_gradient(scores.data() + first, at_scores.data(), config_.num_experts, gradient.data() + first);
  return gradient;
}

}  // namespace switchyard
