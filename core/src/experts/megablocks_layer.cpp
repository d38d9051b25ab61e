// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/megablocks_layer.hpp"

#include "switchyard/internal/require.hpp"

namespace switchyard {

void MegaBlocksLayerConfig::validate() const {
  experts.validate();
  switchyard::validate(router(), experts.num_experts);
  SWITCHYARD_REQUIRE(!jitter_eps || (*jitter_eps >= 0.0 && *jitter_eps < 1.0), invalid_argument,
                     "a router jitter of {}: factors lie in [1 - eps, 1 + eps], so eps must be in [0, 1)",
                     jitter_eps.value_or(0.0));
}

RouterConfig MegaBlocksLayerConfig::router() const {
  RouterConfig config;
  config.score_function = ScoreFunction::softmax_pre;
  config.top_k = experts.top_k;
  config.normalisation = normalize_expert_weights;
  config.normalise_single = true;
  config.epsilon = 0.0F;
  config.rounding = rounding.value_or(RouterRounding{experts.dtype, DType::f32, DType::f32});
  return config;
}

RoutingMap uniform_assignment(RoutingMap const& routing) {
  SWITCHYARD_REQUIRE(routing.form() == RoutingForm::topk, invalid_argument,
                     "a uniform assignment replaces the choices of a top-k routing: convert a dense one with "
                     "to_topk()");
  std::vector<std::int32_t> ids(routing.ids().size());
  for (std::size_t flat = 0; flat < ids.size(); ++flat)
    ids[flat] = static_cast<std::int32_t>(flat % static_cast<std::size_t>(routing.num_experts()));
  return RoutingMap::from_topk(routing.num_tokens(), routing.num_experts(), routing.top_k(), std::move(ids),
                               {routing.weights().begin(), routing.weights().end()});
}

}  // namespace switchyard
