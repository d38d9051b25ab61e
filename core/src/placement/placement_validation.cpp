// SPDX-License-Identifier: Apache-2.0
/// The rules of an expert placement: which slots and experts break them.
#include <fmt/format.h>

#include <utility>

#include "switchyard/internal/to_size.hpp"
#include "switchyard/placement/expert_placement.hpp"

namespace switchyard {

namespace {

bool in_range(ExpertId expert, int num_experts) {
  return expert.value() >= 0 && expert.value() < num_experts;
}

void report_bad_ids(ExpertPlacement const& placement, int layer, std::vector<PlacementViolation>& out) {
  auto const slots = placement.layer(layer);
  for (std::int32_t slot = 0; slot < placement.num_slots(); ++slot) {
    ExpertId const expert = slots[to_size(slot)];
    if (expert != kNoExpert && !in_range(expert, placement.num_experts())) {
      out.push_back({PlacementRule::id_out_of_range, layer, SlotId(slot), expert,
                     fmt::format("slot {} (rank {}) of layer {} holds expert {}, outside [-1, {}) where -1 is an empty "
                                 "slot",
                                 slot, placement.layout().rank_of(SlotId(slot)).value(), layer, expert.value(),
                                 placement.num_experts())});
    }
  }
}

void report_missing_experts(ExpertPlacement const& placement, int layer, std::vector<PlacementViolation>& out) {
  std::vector<bool> placed(to_size(placement.num_experts()), false);
  for (ExpertId const expert : placement.layer(layer)) {
    if (in_range(expert, placement.num_experts())) {
      placed[expert.index()] = true;
    }
  }
  for (std::int32_t expert = 0; expert < placement.num_experts(); ++expert) {
    if (!placed[to_size(expert)]) {
      out.push_back(
          {PlacementRule::expert_without_slot, layer, SlotId(-1), ExpertId(expert),
           fmt::format("expert {} has no slot in layer {}: tokens routed to it would be lost", expert, layer)});
    }
  }
}

void report_duplicates_on_rank(ExpertPlacement const& placement, int layer, std::vector<PlacementViolation>& out) {
  std::vector<std::int32_t> last_rank(to_size(placement.num_experts()), -1);
  for (std::int32_t rank = 0; rank < placement.num_ranks(); ++rank) {
    std::int32_t slot = placement.layout().first_slot(RankId(rank)).value();
    for (ExpertId const expert : placement.rank_slots(layer, RankId(rank))) {
      if (in_range(expert, placement.num_experts()) && std::exchange(last_rank[expert.index()], rank) == rank) {
        out.push_back({PlacementRule::duplicate_on_rank, layer, SlotId(slot), expert,
                       fmt::format("slot {} of layer {} is another copy of expert {} on rank {}: memory without "
                                   "parallelism",
                                   slot, layer, expert.value(), rank)});
      }
      ++slot;
    }
  }
}

}  // namespace

std::string_view to_string(PlacementRule rule) noexcept {
  switch (rule) {
    case PlacementRule::id_out_of_range: return "id_out_of_range";
    case PlacementRule::expert_without_slot: return "expert_without_slot";
    case PlacementRule::duplicate_on_rank: return "duplicate_on_rank";
  }
  return "unknown";
}

std::vector<PlacementViolation> validate(ExpertPlacement const& placement, bool report_duplicates) {
  std::vector<PlacementViolation> violations;
  for (int layer = 0; layer < placement.num_layers(); ++layer) {
    report_bad_ids(placement, layer, violations);
    report_missing_experts(placement, layer, violations);
    if (report_duplicates) {
      report_duplicates_on_rank(placement, layer, violations);
    }
  }
  return violations;
}

}  // namespace switchyard
