// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/workload.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "generators/draw.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/slot_layout.hpp"

namespace switchyard::sim {
namespace {

constexpr std::array<std::string_view, 8> kNames{"W0", "W1", "W2", "W3", "W4", "W5", "W6", "W7"};
constexpr int kExpertsPerHotOne = 16;
constexpr std::uint64_t kStepsPerBurst = 4;
constexpr std::size_t kExpertsPerZeroOne = 4;
constexpr int kMaxSteps = 1 << 28;

/// What a workload is made from.
struct Setting {
  RoutingShape shape;
  std::uint64_t seed = 0;
  int step = 0;

  [[nodiscard]] SlotLayout blocks() const { return SlotLayout::balanced(shape.num_ranks, shape.num_experts); }
  [[nodiscard]] int num_hot() const { return std::max(1, shape.num_experts / kExpertsPerHotOne); }
  [[nodiscard]] CounterRng hot_rng() const { return stream_of(seed, Purpose::hot, 0, 0); }
};

void heat_drawn_experts(Setting const& setting, RoutingSpec& spec) {
  CounterRng const rng = setting.hot_rng();
  std::vector<std::size_t> order(spec.expert_weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return rng.bits(a) < rng.bits(b); });
  for (int i = 0; i < setting.num_hot(); ++i) spec.expert_weights[order[to_size(i)]] = kHotFactor;
}

void heat_one_rank(Setting const& setting, RoutingSpec& spec) {
  auto const blocks = setting.blocks();
  RankId const rank(static_cast<int>(setting.hot_rng().below(0, static_cast<std::uint64_t>(setting.shape.num_ranks))));
  auto const first = spec.expert_weights.begin() + blocks.first_slot(rank).value();
  std::fill(first, first + blocks.slots_of(rank), kHotFactor);
}

void heat_one_expert_per_rank(Setting const& setting, RoutingSpec& spec) {
  auto const blocks = setting.blocks();
  CounterRng const rng = setting.hot_rng();
  for (int rank = 0; rank < setting.shape.num_ranks; ++rank) {
    int const held = blocks.slots_of(RankId(rank));
    if (held == 0) continue;
    auto const chosen = rng.below(static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(held));
    spec.expert_weights[blocks.first_slot(RankId(rank)).index() + static_cast<std::size_t>(chosen)] = kHotFactor;
  }
}

void silence(Setting const& setting, RoutingSpec& spec) {
  RankId const last(setting.shape.num_ranks - 1);
  spec.tokens_of_rank.back() = 0;
  std::fill(spec.expert_weights.begin() + setting.blocks().first_slot(last).value(), spec.expert_weights.end(), 0.0);
  for (std::size_t e = 0; e < spec.expert_weights.size(); e += kExpertsPerZeroOne) spec.expert_weights[e] = 0;
}

void heat_rotating_experts(Setting const& setting, RoutingSpec& spec) {
  auto const experts = spec.expert_weights.size();
  auto const hot = to_size(setting.num_hot());
  std::size_t const first = static_cast<std::size_t>(setting.hot_rng().below(0, experts)) + hot * to_size(setting.step);
  for (std::size_t i = 0; i < hot; ++i) spec.expert_weights[(first + i) % experts] = kHotFactor;
}

void burst(Setting const& setting, RoutingSpec& spec) {
  auto const step = static_cast<std::uint64_t>(setting.step);
  spec.even = stream_of(setting.seed, Purpose::burst, 0, 0).below(step, kStepsPerBurst) != 0;
  if (spec.even) return;
  for (std::int64_t& tokens : spec.tokens_of_rank) tokens *= kBurstTokens;
  heat_drawn_experts(setting, spec);
}

void apply(Workload workload, Setting const& setting, RoutingSpec& spec) {
  switch (workload) {
    case Workload::w0: spec.even = true; return;
    case Workload::w1: return heat_drawn_experts(setting, spec);
    case Workload::w2: return heat_one_rank(setting, spec);
    case Workload::w3: return heat_one_expert_per_rank(setting, spec);
    case Workload::w4:
      spec.tokens_of_rank = routing_preset(RoutingPreset::ragged, setting.shape, setting.seed).tokens_of_rank;
      return;
    case Workload::w5: return silence(setting, spec);
    case Workload::w6: return heat_rotating_experts(setting, spec);
    default: return burst(setting, spec);
  }
}

}  // namespace

std::string_view to_string(Workload workload) noexcept {
  return kNames[static_cast<std::size_t>(workload)];
}

std::vector<std::string> workload_names() {
  return {kNames.begin(), kNames.end()};
}

Workload parse_workload(std::string_view name) {
  auto const found = std::find(kNames.begin(), kNames.end(), name);
  SWITCHYARD_REQUIRE(found != kNames.end(), invalid_argument, "unknown workload '{}': known are {}", name,
                     fmt::join(kNames, ", "));
  return static_cast<Workload>(found - kNames.begin());
}

RoutingSpec workload_spec(Workload workload, RoutingShape const& shape, std::uint64_t seed, int step) {
  SWITCHYARD_REQUIRE(step >= 0 && step < kMaxSteps, invalid_argument, "step is {}: give an integer in [0, {})", step,
                     kMaxSteps);
  RoutingSpec spec = routing_preset(RoutingPreset::uniform, shape, seed);
  apply(workload, {shape, seed, step}, spec);
  // Every step draws anew, while what is hot, ragged or bursting hangs on the user's seed.
  if (step > 0) spec.seed = stream_of(seed, Purpose::step_seed, 0, 0).bits(static_cast<std::uint64_t>(step));
  require_valid(spec);
  return spec;
}

}  // namespace switchyard::sim
