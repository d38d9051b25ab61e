// SPDX-License-Identifier: Apache-2.0
/// Placement policies behind one interface: loads in, a placement out.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/placement/expert_load.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/placement/problem.hpp"

namespace switchyard {

/// A pure function from loads to a placement, named so that a plan file can say which made it.
class PlacementPolicy {
 public:
  virtual ~PlacementPolicy() = default;
  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  /// @return the optional parts of `request` that this policy takes into account.
  [[nodiscard]] virtual RequestParts honours(PolicyRequest const& request) const = 0;
  /// @param load its steps are reduced by request.window first, unless the policy plans on steps (uses_steps()).
  /// @throws Error{invalid_argument} when the request breaks a rule of the policy (slots not divisible by ranks, fewer
  ///         slots than experts, ...) or asks for a part that it does not honour; the text says what to change.
  /// @note pure.
  [[nodiscard]] ExpertPlacement place(ExpertLoad const& load, PolicyRequest const& request) const;
  /// @return whether the policy looks at every step of the load; it then reduces none, or reduces by itself.
  [[nodiscard]] virtual bool uses_steps() const noexcept { return false; }

 private:
  /// The policy itself. `request` is valid and asks for nothing that is not honoured.
  [[nodiscard]] virtual ExpertPlacement do_place(ExpertLoad const& load, PolicyRequest const& request) const = 0;
};

/// Known names, docs/placement.md says what each honours, its ties and its source:
/// - DeepSeek's: "deepseek" (hierarchical when num_nodes divides num_groups, else global, as the original decides),
///   "deepseek-hierarchical", "deepseek-global";
/// - baselines that ignore the loads: "contiguous" (ExpertPlacement::trivial), "round-robin"
///   (ExpertPlacement::round_robin);
/// - other peers': "vllm", "sglang-vec", "sglang-vec-hierarchical", "sglang-elastic", "tensorrt-llm",
///   "ascend-default", "swift".
/// Of our own: "balanced" (balanced.hpp) and "incremental" (incremental.hpp, with its default options).
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
/// @param request its four sizes are all that is looked at; PlacementPolicy::place refuses the rest by name.
/// @param hierarchical false = one node and one group, whatever the request says.
/// @throws Error{invalid_argument} as PlacementPolicy::place, and for a load beyond float32.
/// @note O(layers * ((P-E)E + P log P + P G)); pure. Source: deepseek-ai/EPLB eplb.py. A tie of the original's unstable
///       sort is resolved as its golden vectors do (stable). A group's load is summed in the order of PyTorch's 256-bit
///       kernel, which matters above 2^24 tokens per group only; other builds of PyTorch sum in other orders there.
[[nodiscard]] DeepSeekResult deepseek_rebalance(ExpertLoad const& load, PolicyRequest const& request,
                                                bool hierarchical);

}  // namespace switchyard
