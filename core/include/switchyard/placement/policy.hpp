// SPDX-License-Identifier: Apache-2.0
/// Placement policies behind one interface: loads in, a placement out.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"

namespace switchyard {

/// What a policy plans for. Sizes are per layer and equal for all layers.
struct PolicyRequest {
  int num_ranks = 1;
  int num_slots = 1;  ///< physical slots over all ranks
  int num_nodes = 1;
  int num_groups = 1;  ///< expert groups of group-limited routing; experts of a group are contiguous
};

/// A pure function from loads to a placement, named so that a plan file can say which made it.
class PlacementPolicy {
 public:
  virtual ~PlacementPolicy() = default;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  /// @param load summed over its steps first. @throws Error{invalid_argument} when the request breaks a rule of the
  /// policy
  ///        (slots not divisible by ranks, fewer slots than experts, ...); the text says what to change.
  [[nodiscard]] virtual ExpertPlacement place(ExpertLoad const& load, PolicyRequest const& request) const = 0;
};

/// Known names: "deepseek" (hierarchical when num_nodes divides num_groups, else global, as the original decides),
/// "deepseek-hierarchical", "deepseek-global"; and two baselines that ignore the loads and accept uneven slots per rank
/// (SlotLayout::balanced): "contiguous" (ExpertPlacement::trivial) and "round-robin" (ExpertPlacement::round_robin).
/// @throws Error{invalid_argument} for another name; the text lists the known ones.
[[nodiscard]] std::unique_ptr<PlacementPolicy const> make_policy(std::string_view name);
/// @return the known names in the order above.
[[nodiscard]] std::vector<std::string> policy_names();

/// Everything DeepSeek's `rebalance_experts` returns.
struct DeepSeekResult {
  ExpertPlacement placement;  ///< phy2log, [layers][slots]
  std::vector<std::vector<std::vector<SlotId>>>
      replica_slots;  ///< log2phy: [layer][expert][replica], column = order of creation
};

/// DeepSeek's EPLB bit for bit: float32 accumulation, declared ties (descending load then ascending item; lowest pack;
/// lowest expert for the next replica). An item is a slot in the order of replication before it is packed.
/// @param hierarchical false = one node and one group, whatever the request says.
/// @throws Error{invalid_argument} as PlacementPolicy::place, and for a load beyond float32.
/// @note O(layers * ((P-E)E + P log P + P G)); pure. Source: deepseek-ai/EPLB eplb.py. A tie of the original's unstable
///       sort is resolved as its golden vectors do (stable). A group's load is summed in the order of PyTorch's 256-bit
///       kernel, which matters above 2^24 tokens per group only; other builds of PyTorch sum in other orders there.
[[nodiscard]] DeepSeekResult deepseek_rebalance(ExpertLoad const& load, PolicyRequest const& request,
                                                bool hierarchical);

}  // namespace switchyard
