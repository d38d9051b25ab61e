// SPDX-License-Identifier: Apache-2.0
/// ExpertPlacement: which logical expert every physical slot of every layer holds.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/placement/slot_layout.hpp"
#include "switchyard/types/fingerprint.hpp"
#include "switchyard/types/ids.hpp"

namespace switchyard {

/// [layers][slots] logical experts, kNoExpert for an empty slot, over one SlotLayout for all layers.
///
/// Replicas (several slots, one expert) and empty slots are allowed; so is an expert without a slot, which is what a
/// placement looks like after a rank was lost. validate() says what a serving system must not accept.
class ExpertPlacement {
 public:
  ExpertPlacement() = default;
  /// @param slot_to_expert row-major [layers * slots].
  /// @throws Error{shape_mismatch} for a wrong length, Error{invalid_argument} for negative sizes. Ids are NOT checked
  ///         here, so that a placement read from a file can be reported on as a whole: see validate().
  ExpertPlacement(int num_layers, int num_experts, SlotLayout layout, std::vector<ExpertId> slot_to_expert);

  /// Slot i holds expert i: experts split over ranks in ascending contiguous blocks, balanced remainder.
  [[nodiscard]] static ExpertPlacement contiguous(int num_layers, int num_experts, int num_ranks);
  /// vLLM's and SGLang's initial map: slot i holds expert i mod num_experts.
  [[nodiscard]] static ExpertPlacement trivial(int num_layers, int num_experts, SlotLayout const& layout);
  /// Expert e lives on rank e mod ranks (vLLM's round_robin strategy, which knows no replicas). Spare slots take
  /// further passes over the experts: copy w of expert e goes to rank (e + w) mod ranks, or to the next rank with a
  /// free slot.
  [[nodiscard]] static ExpertPlacement round_robin(int num_layers, int num_experts, SlotLayout const& layout);

  [[nodiscard]] int num_layers() const noexcept { return num_layers_; }
  [[nodiscard]] int num_experts() const noexcept { return num_experts_; }
  [[nodiscard]] int num_ranks() const noexcept { return layout_.num_ranks(); }
  [[nodiscard]] int num_slots() const noexcept { return layout_.num_slots(); }
  [[nodiscard]] SlotLayout const& layout() const noexcept { return layout_; }

  /// @return the slots of `layer`, [num_slots]. @throws Error{invalid_argument} for a layer outside [0, num_layers).
  [[nodiscard]] std::span<ExpertId const> layer(int layer) const;
  /// @return the slots of `layer` that `rank` owns.
  [[nodiscard]] std::span<ExpertId const> rank_slots(int layer, RankId rank) const;
  [[nodiscard]] ExpertId expert_at(int layer, SlotId slot) const;
  [[nodiscard]] std::span<ExpertId const> slot_to_expert() const noexcept { return slot_to_expert_; }

  [[nodiscard]] Fingerprint fingerprint() const;
  friend bool operator==(ExpertPlacement const&, ExpertPlacement const&) = default;

 private:
  int num_layers_ = 0;
  int num_experts_ = 0;
  SlotLayout layout_{};
  std::vector<ExpertId> slot_to_expert_{};
};

/// The slots of every expert of one layer, ascending: the inverse of a placement row.
class ReplicaTable {
 public:
  /// @throws Error{invalid_placement} for an id outside [-1, num_experts).
  ReplicaTable(ExpertPlacement const& placement, int layer);

  /// @return the slots that hold `expert`, ascending; empty when it has none.
  [[nodiscard]] std::span<SlotId const> replicas(ExpertId expert) const;
  [[nodiscard]] int num_experts() const noexcept { return static_cast<int>(offsets_.size()) - 1; }

 private:
  std::vector<std::int32_t> offsets_;
  std::vector<SlotId> slots_;
};

/// A broken rule of a placement. The names are part of the file formats and of the CLI's output.
enum class PlacementRule {
  id_out_of_range,      ///< a slot names an expert outside [-1, num_experts)
  expert_without_slot,  ///< a logical expert has no slot in some layer
  duplicate_on_rank,    ///< two replicas of one expert on one rank: memory without parallelism (a warning)
};
[[nodiscard]] std::string_view to_string(PlacementRule rule) noexcept;

struct PlacementViolation {
  PlacementRule rule;
  int layer;
  SlotId slot;       ///< the slot at fault, -1 for expert_without_slot
  ExpertId expert;   ///< the id found, or the expert that is missing
  std::string text;  ///< one sentence with the values
};

/// @return every violation, ascending by (layer, rule, slot, expert); empty when a serving system may use it.
/// Duplicates on a
///         rank are legal in every peer and are only listed when `report_duplicates`.
[[nodiscard]] std::vector<PlacementViolation> validate(ExpertPlacement const& placement,
                                                       bool report_duplicates = false);

}  // namespace switchyard
