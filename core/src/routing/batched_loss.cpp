// SPDX-License-Identifier: Apache-2.0
#include "loss_rows.hpp"
#include "switchyard/hd/convert.hpp"
#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/router_setup.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"
#include "token_totals.hpp"

namespace switchyard {
namespace {

struct BatchShape {
  std::int64_t num_tokens = 0;
  std::int64_t num_experts = 0;
};

BatchShape require_layers(std::span<LayerBalance const> layers, int num_layers_total, int top_k) {
  SWITCHYARD_REQUIRE(top_k >= 1 && num_layers_total >= 1 && layers.size() <= to_size(num_layers_total),
                     invalid_argument, "batched loss of {} layers out of {} with top_k {}: counts must be positive",
                     layers.size(), num_layers_total, top_k);
  if (layers.empty()) return {};
  std::size_t const experts = layers[0].counts.size();
  for (std::size_t l = 0; l < layers.size(); ++l)
    SWITCHYARD_REQUIRE(experts > 0 && layers[l].counts.size() == experts && layers[l].scores.size() % experts == 0 &&
                           layers[l].scores.size() == layers[0].scores.size(),
                       shape_mismatch,
                       "layer {} has {} counts and {} scores where layer 0 has {} and {}: all layers of a batched loss "
                       "hold [tokens, experts] scores of one shape",
                       l, layers[l].counts.size(), layers[l].scores.size(), experts, layers[0].scores.size());
  return {static_cast<std::int64_t>(layers[0].scores.size() / experts), static_cast<std::int64_t>(experts)};
}

std::vector<float> rounded_counts(std::span<std::int64_t const> counts, CountRounding rounding) {
  std::vector<float> floats = routing::counts_as_floats(counts);
  if (rounding == CountRounding::megablocks_bf16)
    for (float& value : floats) value = hd::widen(hd::round_to_bf16(value));
  return floats;
}

float batched_factor(BatchShape shape, int num_layers_total, int top_k, double weight) {
  return internal::loss_factor(hd::mul_rn(static_cast<double>(shape.num_experts), weight),
                               {num_layers_total, shape.num_tokens, top_k});
}

}  // namespace

float batched_balance_loss(std::span<LayerBalance const> layers, int num_layers_total, int top_k, double weight,
                           CountRounding rounding) {
  BatchShape const shape = require_layers(layers, num_layers_total, top_k);
  if (shape.num_tokens == 0) return 0.0F;
  std::vector<float> means;
  std::vector<float> counts;
  for (LayerBalance const& layer : layers) {
    for (float const sum :
         routing::column_sums(layer.scores, shape.num_experts, routing::every_token(shape.num_tokens)))
      means.push_back(hd::div_rn(sum, static_cast<float>(shape.num_tokens)));
    for (float const count : rounded_counts(layer.counts, rounding)) counts.push_back(count);
  }
  float const dot = hd::lane32_sum(static_cast<std::int64_t>(counts.size()), hd::Products{counts.data(), means.data()});
  return hd::canonical(hd::mul_rn(batched_factor(shape, num_layers_total, top_k, weight), dot));
}

std::vector<float> batched_balance_loss_gradient(std::span<LayerBalance const> layers, int layer, int num_layers_total,
                                                 int top_k, double weight, float loss_scale, CountRounding rounding) {
  BatchShape const shape = require_layers(layers, num_layers_total, top_k);
  SWITCHYARD_REQUIRE(layer >= 0 && to_size(layer) < layers.size(), invalid_argument,
                     "gradient of layer {} of a batched loss over {} layers", layer, layers.size());
  std::vector<float> gradient = rounded_counts(layers[to_size(layer)].counts, rounding);
  if (shape.num_tokens == 0) return std::vector<float>(gradient.size(), 0.0F);
  float const factor = batched_factor(shape, num_layers_total, top_k, weight);
  for (float& value : gradient) {
    float const at_mean = hd::mul_rn(hd::mul_rn(factor, value), loss_scale);
    value = hd::div_rn(at_mean, static_cast<float>(shape.num_tokens));
  }
  return gradient;
}

}  // namespace switchyard
