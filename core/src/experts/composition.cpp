// SPDX-License-Identifier: Apache-2.0
// What keeps a way to move rows and a way to compute experts from being a layer.
#include <fmt/format.h>

#include <cmath>

#include "switchyard/experts/moe_layer.hpp"

namespace switchyard {
namespace {

/// One composition under test, and the reasons found so far.
struct Composition {
  PrepareTraits const& traits;
  PrepareShape const& shape;
  ExpertMlp const& mlp;
  std::string_view experts;
  std::vector<std::string> reasons;

  template <typename Value>
  void require_equal(std::string_view what, Value const& prepare, Value const& computed) {
    if (prepare == computed) return;
    reasons.push_back(fmt::format("{} of {} is {}, of {} {}", what, traits.name, prepare, experts, computed));
  }
};

bool given_scale(std::optional<QuantSpec> const& quant) noexcept {
  return quant && quant->scheme == QuantScheme::fp8_tensor;
}

void compare_sizes(Composition& c, int global_num_experts) {
  c.require_equal("hidden size", c.shape.hidden, c.mlp.hidden);
  c.require_equal("row dtype", to_string(c.traits.dtype), to_string(c.mlp.dtype));
  c.require_equal("number of local experts", c.shape.num_local_experts, c.mlp.num_local_experts);
  c.require_equal("TP size", c.shape.tp.size, c.mlp.tp.size);
  c.require_equal("TP rank", c.shape.tp.rank, c.mlp.tp.rank);
  int const experts = global_num_experts == -1 ? c.mlp.num_local_experts : global_num_experts;
  if (experts != c.shape.num_experts)
    c.reasons.push_back(fmt::format("{} takes routings over {} experts, the layer has {}{}", c.traits.name,
                                    c.shape.num_experts, experts,
                                    global_num_experts == -1 ? " (-1: those of " + std::string(c.experts) + ")" : ""));
}

void check_scale(Composition& c, std::string_view name, std::optional<float> scale, bool read) {
  if (!scale) return;
  if (!std::isfinite(*scale) || *scale <= 0)
    c.reasons.push_back(fmt::format("{} is {}: it must be positive and finite", name, *scale));
  if (!read)
    c.reasons.push_back(fmt::format("{} is given, but neither {} nor {} quantises what it scales by fp8_tensor", name,
                                    c.traits.name, c.experts));
}

void compare_inputs(Composition& c, MoeLayerOptions const& options) {
  if (options.router_weight_on_input && !c.traits.router_weight_on_input)
    c.reasons.push_back(fmt::format("the layer wants router weights on the input, {} cannot", c.traits.name));
  bool const quantised = c.traits.quantize != QuantizeWhen::never;
  if (quantised && c.mlp.input_quant && c.traits.quant != c.mlp.input_quant)
    c.reasons.push_back(fmt::format("{} quantises rows by {}, {} wants them by {} with other parameters or scheme",
                                    c.traits.name, c.traits.quant ? to_string(c.traits.quant->scheme) : "nothing",
                                    c.experts, to_string(c.mlp.input_quant->scheme)));
  check_scale(c, "a1_scale", options.a1_scale, given_scale(quantised ? c.traits.quant : c.mlp.input_quant));
  check_scale(c, "a2_scale", options.a2_scale, given_scale(c.mlp.activation_quant));
}

}  // namespace

std::vector<std::string> composition_problems(PrepareFinalize const& prepare, Experts const& experts,
                                              ExpertsTraits const& traits, MoeLayerOptions const& options) {
  Composition c{prepare.traits(), prepare.shape(), experts.mlp(), experts.name(),
                incompatibilities(prepare.traits(), traits)};
  if (traits.weight_and_reduce != WeightAndReduce::delegate)
    c.reasons.push_back(fmt::format("{} weights and reduces in finalize, {} has done so already ({})", c.traits.name,
                                    traits.name, to_string(traits.weight_and_reduce)));
  compare_sizes(c, options.global_num_experts);
  compare_inputs(c, options);
  return c.reasons;
}

}  // namespace switchyard
