// SPDX-License-Identifier: Apache-2.0
/// vLLM's DefaultEplbPolicy: DeepSeek's three steps in numpy, then experts that stay on their rank keep their slots.
///
/// Differences to DeepSeek's: loads per replica and the packs' sums are float64 (loads stay float32, group sums are
/// float32 in numpy's pairwise order). Ties as declared for DeepSeek's: numpy's argsort is unstable above 16 items,
/// ours keeps the order. Hierarchical iff nodes divide groups, as the original decides; it sets the number of nodes to
/// 1 where ranks do not divide over them, which we refuse.
#include <array>

#include "../hierarchical.hpp"
#include "keep_slots.hpp"
#include "peer_policies.hpp"

namespace switchyard::placement {

namespace {

/// numpy's pairwise sum: up to 128 values in eight chains, more in two halves of a multiple of eight.
float pairwise_sum(std::span<float const> values) {
  constexpr std::size_t kChains = 8;
  constexpr std::size_t kBlock = 128;
  auto const add = [](float a, float b) { return a + b; };
  if (values.size() < kChains) {
    return std::accumulate(values.begin(), values.end(), 0.0F, add);
  }
  if (values.size() > kBlock) {
    std::size_t const half = values.size() / 2 / kChains * kChains;
    return pairwise_sum(values.first(half)) + pairwise_sum(values.subspan(half));
  }
  std::array<float, kChains> r{};
  std::copy_n(values.begin(), kChains, r.begin());
  std::size_t const in_chains = values.size() / kChains * kChains;
  for (std::size_t i = kChains; i < in_chains; ++i) {
    r[i % kChains] += values[i];
  }
  float const sum = ((r[0] + r[1]) + (r[2] + r[3])) + ((r[4] + r[5]) + (r[6] + r[7]));
  return std::accumulate(values.begin() + static_cast<std::ptrdiff_t>(in_chains), values.end(), sum, add);
}

struct Float64Shares {
  using Share = double;
  using Sum = double;
  static double share(float load, std::int64_t replicas) {
    return static_cast<double>(load) / static_cast<double>(replicas);
  }
  static float group_sum(std::span<float const> values) { return pairwise_sum(values); }
};

class VllmPolicy final : public PlacementPolicy {
 public:
  explicit VllmPolicy(std::string_view name) : name_(name) {}
  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] RequestParts honours(PolicyRequest const& request) const override {
    RequestParts parts{RequestPart::window, RequestPart::current};
    if (is_hierarchical(request)) {
      parts.add(RequestPart::max_nodes_per_group);
      parts.add(RequestPart::max_nodes_per_expert);
    }
    return parts;
  }

 private:
  static bool is_hierarchical(PolicyRequest const& request) { return request.num_groups % request.num_nodes == 0; }

  [[nodiscard]] ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const override {
    auto const shape = checked_shape(load, request, is_hierarchical(request));
    auto layout = SlotLayout::uniform(request.num_ranks, request.num_slots / request.num_ranks);
    std::vector<ExpertId> slots;
    for (int layer = 0; layer < load.num_layers(); ++layer) {
      auto const placed = place_hierarchically<Float64Shares>(float32_loads(load.at(0, layer), layer), shape);
      for (std::size_t const expert : placed.expert) slots.emplace_back(static_cast<std::int32_t>(expert));
    }
    // The original keeps slots only where the shape of the map is unchanged.
    if (request.current != nullptr && request.current->layout() == layout) keep_all_slots(*request.current, slots);
    return ExpertPlacement(load.num_layers(), load.num_experts(), std::move(layout), std::move(slots));
  }

  std::string_view name_;
};

}  // namespace

PolicyPointer make_vllm(std::string_view name) {
  return std::make_unique<VllmPolicy>(name);
}

}  // namespace switchyard::placement
