// SPDX-License-Identifier: Apache-2.0
#include <fmt/ranges.h>

#include <algorithm>

#include "switchyard/internal/require.hpp"
#include "switchyard/sim/load_spec.hpp"

namespace switchyard::sim {
namespace {

struct Preset {
  std::string_view name;
  LoadSpec spec;
};

LoadSpec shape(int layers, int experts, int top_k) {
  LoadSpec spec;
  spec.num_layers = layers;
  spec.num_experts = experts;
  spec.top_k = top_k;
  spec.sigma = {{0.0, 0.4}, {1.0, 0.7}};
  return spec;
}

LoadSpec with_law(PopularityLaw law) {
  LoadSpec spec;
  spec.law = law;
  return spec;
}

/// The knots follow the published layers (calm at the start, hottest third from the end, calmer in the last two); among
/// 700 seeds the one nearest to the published minimum, maximum and mean was taken.
LoadSpec deepseek_r1() {
  LoadSpec spec;
  spec.sigma = {{0.0, 0.5},       {2.0 / 57, 0.5},  {4.0 / 57, 1.1}, {54.0 / 57, 1.15},
                {55.0 / 57, 1.3}, {56.0 / 57, 0.7}, {1.0, 0.9}};
  spec.sampling = LoadSampling::sampled;
  spec.seed = 334;
  return spec;
}

std::vector<Preset> presets() {
  return {{"deepseek-r1", deepseek_r1()},
          {"kimi-k2", shape(60, 384, 8)},
          {"qwen3-235b", shape(94, 128, 8)},
          {"gpt-oss-120b", shape(36, 128, 4)},
          {"mixtral-8x7b", shape(32, 8, 2)},
          {"olmoe", shape(16, 64, 8)},
          {"uniform", with_law(PopularityLaw::uniform)},
          {"zipf-stress", with_law(PopularityLaw::zipf)},
          {"one-hot", with_law(PopularityLaw::one_hot)}};
}

}  // namespace

std::vector<std::string> load_preset_names() {
  std::vector<std::string> names;
  for (Preset const& preset : presets()) names.emplace_back(preset.name);
  return names;
}

LoadSpec load_preset(std::string_view name) {
  auto const all = presets();
  auto const found = std::find_if(all.begin(), all.end(), [&](Preset const& preset) { return preset.name == name; });
  SWITCHYARD_REQUIRE(found != all.end(), invalid_argument, "unknown load preset '{}': known are {}", name,
                     fmt::join(load_preset_names(), ", "));
  return found->spec;
}

}  // namespace switchyard::sim
