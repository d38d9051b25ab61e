// SPDX-License-Identifier: Apache-2.0
/// SGLang's deepseek_vec: replicas that serve every recorded step, packed in boustrophedon order.
///
/// Each further slot goes to the expert whose extra replica leaves the smallest sum, over the steps, of the largest
/// load per replica. Only a step's heaviest expert can lower that step's maximum; it is found with a tie-break term of
/// position * 1e-4 added to the loads, without which the new share counts. The slots are then sorted by their mean
/// load and dealt to the ranks row by row, every second row backwards.
/// Arithmetic: float32; sums over steps, and group sums, ascending. Ties: lowest position, stable sort (the original's
/// sort is unstable). With one slot per rank the slots stay in order of creation.
#include "../hierarchical.hpp"
#include "peer_policies.hpp"

namespace switchyard::placement {

namespace {

using Steps = std::vector<std::vector<float>>;  // [steps][experts]

std::vector<float> sum_of_steps(Steps const& steps) {
  std::vector<float> sums(steps.front().size(), 0.0F);
  for (auto const& step : steps) {
    for (std::size_t expert = 0; expert < sums.size(); ++expert) sums[expert] += step[expert];
  }
  return sums;
}

/// One step's loads at the positions of one node, with the tie-break term.
struct NodeStep {
  std::vector<float> loads;
  std::vector<float> distinct;
};

/// A step's largest load per replica, whose it is, and what would be the largest if that expert had one replica more.
struct Peak {
  std::size_t expert;
  float now;
  float relieved;
};

Peak peak_of(NodeStep const& step, std::vector<std::int64_t> const& counts) {
  std::vector<float> score(counts.size());
  for (std::size_t i = 0; i < score.size(); ++i) score[i] = step.distinct[i] / static_cast<float>(counts[i]);
  auto const highest = std::max_element(score.begin(), score.end());
  auto const expert = static_cast<std::size_t>(highest - score.begin());
  Peak peak{expert, *highest, 0};
  *highest = step.loads[expert] / static_cast<float>(counts[expert] + 1);
  peak.relieved = *std::max_element(score.begin(), score.end());
  return peak;
}

/// @return the position whose extra replica leaves the smallest sum of maxima.
std::size_t best_extra(std::vector<NodeStep> const& steps, std::vector<std::int64_t> const& counts) {
  std::vector<Peak> peaks;
  for (auto const& step : steps) peaks.push_back(peak_of(step, counts));
  std::size_t best = 0;
  float best_sum = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    float sum = 0;
    for (auto const& peak : peaks) sum += peak.expert == i ? peak.relieved : peak.now;
    if (i == 0 || sum < best_sum) {
      best = i;
      best_sum = sum;
    }
  }
  return best;
}

/// @return the position of the expert of every slot of a node, in order of creation.
std::vector<std::size_t> replicate_for_steps(std::vector<NodeStep> const& steps, std::size_t num_slots,
                                             std::vector<std::int64_t>& counts) {
  std::vector<std::size_t> made(counts.size());
  std::iota(made.begin(), made.end(), std::size_t{0});
  while (made.size() < num_slots) {
    made.push_back(best_extra(steps, counts));
    ++counts[made.back()];
  }
  return made;
}

/// Sorted slots in rows of one per rank, odd rows reversed: column r is what rank r holds.
std::vector<std::size_t> deal(std::span<float const> shares, std::size_t num_ranks) {
  std::size_t const per_rank = shares.size() / num_ranks;
  auto const order = falling_order(shares);
  std::vector<std::size_t> dealt(shares.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    std::size_t const row = i / num_ranks;
    std::size_t const column = row % 2 == 0 ? i % num_ranks : num_ranks - 1 - i % num_ranks;
    dealt[column * per_rank + row] = order[i];
  }
  return dealt;
}

std::vector<NodeStep> node_steps(Steps const& steps, std::span<std::size_t const> experts, std::size_t first_position) {
  std::vector<NodeStep> out;
  for (auto const& step : steps) {
    NodeStep node;
    for (std::size_t i = 0; i < experts.size(); ++i) {
      float const term = static_cast<float>(first_position + i) * 1e-4F;
      node.loads.push_back(step[experts[i]]);
      node.distinct.push_back(step[experts[i]] + term);
    }
    out.push_back(std::move(node));
  }
  return out;
}

/// @return the expert of every slot of one node, by rank.
std::vector<std::size_t> place_node(Steps const& steps, std::span<float const> sums,
                                    std::span<std::size_t const> experts, std::size_t first_position,
                                    LayerShape const& shape) {
  std::vector<std::int64_t> counts(experts.size(), 1);
  auto const made = replicate_for_steps(node_steps(steps, experts, first_position), shape.slots / shape.nodes, counts);
  std::vector<std::size_t> slots;
  if (shape.slots == shape.ranks) {
    for (std::size_t const i : made) slots.push_back(experts[i]);
    return slots;
  }
  std::vector<float> shares;
  for (std::size_t const i : made) shares.push_back(sums[experts[i]] / static_cast<float>(counts[i]));
  for (std::size_t const slot : deal(shares, shape.ranks / shape.nodes)) slots.push_back(experts[made[slot]]);
  return slots;
}

/// Groups are packed as DeepSeek packs them, but sorted even when every node takes one group.
std::vector<std::size_t> order_of_experts(std::span<float const> sums, LayerShape const& shape) {
  std::size_t const size = shape.experts / shape.groups;
  std::vector<float> weights;
  for (std::size_t group = 0; group < shape.groups; ++group) {
    auto const members = sums.subspan(group * size, size);
    weights.push_back(std::accumulate(members.begin(), members.end(), 0.0F, [](float a, float b) { return a + b; }));
  }
  return node_order(pack_sorted<float>(std::span<float const>(weights), shape.nodes), shape);
}

class SglangVecPolicy final : public PlacementPolicy {
 public:
  SglangVecPolicy(std::string_view name, bool hierarchical) : name_(name), hierarchical_(hierarchical) {}
  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] bool uses_steps() const noexcept override { return true; }
  [[nodiscard]] RequestParts honours(PolicyRequest const&) const override {
    return hierarchical_ ? RequestParts{RequestPart::max_nodes_per_group, RequestPart::max_nodes_per_expert}
                         : RequestParts{};
  }

 private:
  [[nodiscard]] ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const override {
    auto const shape = checked_shape(load, request, hierarchical_);
    std::vector<ExpertId> slots;
    for (int layer = 0; layer < load.num_layers(); ++layer) place_layer(load, layer, shape, slots);
    return ExpertPlacement(load.num_layers(), load.num_experts(),
                           SlotLayout::uniform(request.num_ranks, request.num_slots / request.num_ranks),
                           std::move(slots));
  }

  static void place_layer(ExpertLoad const& load, int layer, LayerShape const& shape, std::vector<ExpertId>& slots) {
    Steps steps;
    for (int step = 0; step < load.num_steps(); ++step) steps.push_back(float32_loads(load.at(step, layer), layer));
    auto const sums = sum_of_steps(steps);
    auto const order = order_of_experts(sums, shape);
    std::size_t const per_node = shape.experts / shape.nodes;
    for (std::size_t first = 0; first < shape.experts; first += per_node) {
      auto const experts = std::span(order).subspan(first, per_node);
      for (std::size_t const expert : place_node(steps, sums, experts, first, shape)) {
        slots.emplace_back(static_cast<std::int32_t>(expert));
      }
    }
  }

  std::string_view name_;
  bool hierarchical_;
};

}  // namespace

PolicyPointer make_sglang_vec(std::string_view name) {
  return std::make_unique<SglangVecPolicy>(name, false);
}

PolicyPointer make_sglang_vec_hierarchical(std::string_view name) {
  return std::make_unique<SglangVecPolicy>(name, true);
}

}  // namespace switchyard::placement
