// SPDX-License-Identifier: Apache-2.0
/// The placement problem: what a policy plans for, in mandatory sizes and optional parts.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/placement/slot_layout.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// What is counted on every rank; a placement is judged by the rank with the most. See measure_objective().
enum class ObjectiveKind : std::uint8_t {
  tokens,             ///< the load a rank receives
  activated_experts,  ///< slots of a rank that receive at least one token in a step (decode: weights read)
  time,               ///< base + per_expert * activated experts + per_token * tokens
};
[[nodiscard]] std::string_view to_string(ObjectiveKind kind) noexcept;

struct PlacementObjective {
  ObjectiveKind kind = ObjectiveKind::tokens;
  double base = 0;        ///< time only: of a rank's step, whatever it holds
  double per_expert = 0;  ///< time only: of each activated expert
  double per_token = 0;   ///< time only: of each token
  friend bool operator==(PlacementObjective const&, PlacementObjective const&) = default;
};

/// How the recorded steps of a load become one number per expert. See reduce_window().
enum class LoadStatistic : std::uint8_t {
  sum,              ///< over the steps: what every peer does
  mean,             ///< sum / steps
  mean_deviations,  ///< mean + deviations * standard deviation: experts that vary count for more
  percentile,       ///< nearest rank of the steps' values
};
[[nodiscard]] std::string_view to_string(LoadStatistic statistic) noexcept;

struct LoadWindow {
  LoadStatistic statistic = LoadStatistic::sum;
  double deviations = 0;    ///< mean_deviations only: at least 0
  double percentile = 100;  ///< percentile only: in (0, 100]; 100 is the largest value
  friend bool operator==(LoadWindow const&, LoadWindow const&) = default;
};

/// What a policy plans for. The first four sizes are mandatory, per layer and equal for all layers; nodes are equal
/// blocks of consecutive ranks, groups equal blocks of consecutive experts. Everything after them is optional: its
/// default asks for nothing. PlacementPolicy::place refuses by name each part that is asked for and not honoured.
struct PolicyRequest {
  int num_ranks = 1;
  int num_slots = 1;  ///< physical slots over all ranks
  int num_nodes = 1;
  int num_groups = 1;  ///< expert groups of group-limited routing

  /// Slots of every rank where they differ; must agree with num_ranks and num_slots.
  std::optional<SlotLayout> slot_layout{};
  /// Relative speeds [ranks], positive; a rank of speed 2 may take twice the load. Empty: all alike.
  std::vector<double> rank_speeds{};
  /// Ranks that serve nothing, ascending; their slots stay empty (kNoExpert).
  std::vector<RankId> dead_ranks{};
  /// Slots that each layer may fill, [layers], at least the experts and at most the live slots; the rest stays empty.
  /// Empty: every slot of every layer.
  std::vector<std::int32_t> layer_slots{};
  /// The most nodes that the replicas of all experts of one group may touch; 0: any number.
  int max_nodes_per_group = 0;
  /// The most nodes that the replicas of one expert may touch; 0: any number.
  int max_nodes_per_expert = 0;
  /// The placement to start from.
  std::shared_ptr<ExpertPlacement const> current{};
  PlacementObjective objective{};
  LoadWindow window{};
};

/// An optional part of a PolicyRequest. The names are part of error texts and of the CLI.
enum class RequestPart : std::uint8_t {
  slot_layout,           ///< a layout with unequal slots per rank
  rank_speeds,           ///< speeds that differ
  dead_ranks,            ///< at least one dead rank
  layer_slots,           ///< a budget of slots per layer
  max_nodes_per_group,   ///< a limit above 0
  max_nodes_per_expert,  ///< a limit above 0
  current,               ///< a current placement
  objective,             ///< another objective than tokens
  window,                ///< another statistic than sum
};
inline constexpr int kNumRequestParts = 9;  ///< every value below it is a part
[[nodiscard]] std::string_view to_string(RequestPart part) noexcept;

/// A set of parts.
class RequestParts {
 public:
  constexpr RequestParts() = default;
  constexpr RequestParts(std::initializer_list<RequestPart> parts) {
    for (RequestPart const part : parts) add(part);
  }
  constexpr void add(RequestPart part) { bits_ |= 1u << static_cast<unsigned>(part); }
  [[nodiscard]] constexpr bool has(RequestPart part) const { return (bits_ >> static_cast<unsigned>(part) & 1u) != 0; }
  friend constexpr bool operator==(RequestParts, RequestParts) = default;

 private:
  std::uint32_t bits_ = 0;
};

/// @return the parts that `request` asks for: those that differ from their defaults. Speeds that are all equal and a
///         layout with equal slots ask for nothing.
[[nodiscard]] RequestParts requested_parts(PolicyRequest const& request);

/// Checks what can be said without knowing the policy: positive sizes, room for every expert on live ranks, lists of
/// the right length, values in range, a current placement of the same model.
/// @throws Error{invalid_argument}, Error{shape_mismatch} for a current placement of another model; the text says what
///         to change.
void validate(PolicyRequest const& request, int num_layers, int num_experts);

/// @return request.slot_layout, or num_slots spread over num_ranks (SlotLayout::balanced).
[[nodiscard]] SlotLayout slot_layout_of(PolicyRequest const& request);
/// @return for every rank whether it serves.
[[nodiscard]] std::vector<bool> live_ranks(PolicyRequest const& request);
/// @return the speed of every rank, all 1 when the request names none. [ranks]
[[nodiscard]] std::vector<double> speeds_of(PolicyRequest const& request);
/// @return the node of `rank`: nodes are equal blocks of ranks, the first ranks % nodes blocks hold one more.
[[nodiscard]] NodeId node_of(PolicyRequest const& request, RankId rank);
/// @return how many slots `layer` may fill: its budget, or every slot of a live rank.
[[nodiscard]] int slots_to_fill(PolicyRequest const& request, int layer);

/// A part of a request that a placement does not keep.
struct RequestViolation {
  RequestPart part;
  int layer;
  std::string text;  ///< one sentence with the values
};

/// @return every violation of slot_layout, dead_ranks, layer_slots and the node limits, ascending by (part, layer);
///         empty when the placement is what the request asks for. The other parts are wishes, see measure_objective().
/// @throws as validate(request), Error{invalid_placement} for an unknown expert, Error{invalid_argument} for a group
///         limit when experts do not divide into groups. @note pure; O(layers * slots).
[[nodiscard]] std::vector<RequestViolation> request_violations(ExpertPlacement const& placement,
                                                               PolicyRequest const& request);

}  // namespace switchyard
