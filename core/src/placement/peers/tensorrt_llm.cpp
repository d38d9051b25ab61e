// SPDX-License-Identifier: Apache-2.0
/// TensorRT-LLM's load balancer: replicas from a max-heap of load per replica, placement from a min-heap of rank loads.
///
/// Loads are float32, quotients and sums float64. Ties: the next replica goes to the highest expert (the original's
/// heap orders pairs), replicas of equal load are placed by ascending expert, on the lowest rank. Without any load the
/// slots are spread evenly, the remainder over the lowest experts. Nodes, groups and the current placement are ignored;
/// two replicas of an expert may share a rank. The original's load is a moving average, see ExpertLoadState.
#include <functional>
#include <queue>

#include "../hierarchical.hpp"
#include "peer_policies.hpp"

namespace switchyard::placement {

namespace {

struct Replica {
  double load;
  std::size_t expert;
};

std::vector<std::int64_t> spread_evenly(std::size_t num_experts, std::size_t num_slots) {
  std::vector<std::int64_t> counts(num_experts, static_cast<std::int64_t>(num_slots / num_experts));
  std::for_each(counts.begin(), counts.begin() + static_cast<std::ptrdiff_t>(num_slots % num_experts),
                [](std::int64_t& count) { ++count; });
  return counts;
}

double share(float load, std::int64_t replicas) {
  return static_cast<double>(load) / static_cast<double>(replicas);
}

std::vector<std::int64_t> count_replicas(std::span<float const> loads, std::size_t num_slots) {
  if (std::all_of(loads.begin(), loads.end(), [](float load) { return load == 0; })) {
    return spread_evenly(loads.size(), num_slots);
  }
  std::vector<std::int64_t> counts(loads.size(), 1);
  std::priority_queue<std::pair<double, std::size_t>> heaviest;
  for (std::size_t expert = 0; expert < loads.size(); ++expert) heaviest.emplace(share(loads[expert], 1), expert);
  for (std::size_t made = loads.size(); made < num_slots; ++made) {
    std::size_t const expert = heaviest.top().second;
    heaviest.pop();
    heaviest.emplace(share(loads[expert], ++counts[expert]), expert);
  }
  return counts;
}

std::vector<Replica> falling_replicas(std::span<float const> loads, std::vector<std::int64_t> const& counts) {
  std::vector<Replica> replicas;
  for (std::size_t expert = 0; expert < loads.size(); ++expert) {
    replicas.insert(replicas.end(), to_size(counts[expert]), {share(loads[expert], counts[expert]), expert});
  }
  std::stable_sort(replicas.begin(), replicas.end(), [](Replica a, Replica b) { return a.load > b.load; });
  return replicas;
}

std::vector<std::size_t> place_layer(std::span<float const> loads, LayerShape const& shape) {
  std::size_t const room = shape.slots / shape.ranks;
  std::vector<std::size_t> slots(shape.slots);
  std::vector<std::size_t> filled(shape.ranks, 0);
  using RankLoad = std::pair<double, std::size_t>;
  std::priority_queue<RankLoad, std::vector<RankLoad>, std::greater<>> lightest;
  for (std::size_t rank = 0; rank < shape.ranks; ++rank) lightest.emplace(0.0, rank);
  for (Replica const replica : falling_replicas(loads, count_replicas(loads, shape.slots))) {
    auto const [load, rank] = lightest.top();
    lightest.pop();
    slots[rank * room + filled[rank]] = replica.expert;
    if (++filled[rank] < room) lightest.emplace(load + replica.load, rank);
  }
  return slots;
}

class TensorRtLlmPolicy final : public PlacementPolicy {
 public:
  explicit TensorRtLlmPolicy(std::string_view name) : name_(name) {}
  [[nodiscard]] std::string_view name() const noexcept override { return name_; }
  [[nodiscard]] RequestParts honours(PolicyRequest const&) const override { return {RequestPart::window}; }

 private:
  [[nodiscard]] ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const override {
    auto const shape = checked_shape(load, request, false);
    std::vector<ExpertId> slots;
    for (int layer = 0; layer < load.num_layers(); ++layer) {
      for (std::size_t const expert : place_layer(float32_loads(load.at(0, layer), layer), shape)) {
        slots.emplace_back(static_cast<std::int32_t>(expert));
      }
    }
    return ExpertPlacement(load.num_layers(), load.num_experts(),
                           SlotLayout::uniform(request.num_ranks, request.num_slots / request.num_ranks),
                           std::move(slots));
  }

  std::string_view name_;
};

}  // namespace

PolicyPointer make_tensorrt_llm(std::string_view name) {
  return std::make_unique<TensorRtLlmPolicy>(name);
}

}  // namespace switchyard::placement
