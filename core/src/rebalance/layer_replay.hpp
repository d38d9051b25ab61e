// SPDX-License-Identifier: Apache-2.0
/// LayerReplay: executes one layer's lists on symbolic rows and notes every rule that breaks on the way.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "switchyard/rebalance/rebalance_plan.hpp"

namespace switchyard::rebalance {

/// A row is symbolic: it is the number of the slot of `before` whose bytes it holds. Knows nothing about how plans are
/// made: it moves rows as an executor would (copies and sends read rows as they were, messages of an ordered pair of
/// ranks match first in, first out, duplicates read what arrived) and compares the end with `after`.
///
/// The plan's placements must agree in size and the layer must have one list set per rank; ids may be anything.
class LayerReplay {
 public:
  LayerReplay(RebalancePlan const& plan, int layer);

  /// @return [slots] the slot of `before` that every slot's bytes come from.
  [[nodiscard]] std::vector<SlotId> const& origins() const noexcept { return origin_; }
  [[nodiscard]] std::vector<PlanViolation> const& violations() const noexcept { return violations_; }

 private:
  /// A send, seen from the sender; its payload is the slot it read.
  struct Message {
    RankId from;
    RankId to;
    ExpertId expert;
    SlotId payload;
  };
  /// A posted receive.
  struct Expectation {
    RankId from;
    RankId to;
    ExpertId expert;
    SlotId target;
  };

  void copy_locally(RankId rank);
  void post_sends(RankId rank);
  void post_receives(RankId rank);
  void deliver();
  void deliver_pair(std::span<Message const> messages, std::span<Expectation const> expectations);
  bool report_unmatched(std::span<Message const> messages, std::span<Expectation const> expectations);
  void duplicate(RankId rank);
  void compare_with_after();

  /// @return the slot of a row, or -1 after reporting that the rank has no such row.
  SlotId slot_of(RankId rank, LocalExpertId row, std::string_view what);
  bool check_peer(RankId rank, RankId peer, std::string_view what);
  /// Moves a payload to a row that must change to `expert`, once.
  void write(RankId rank, SlotId target, ExpertId expert, SlotId payload, std::string_view what);
  void report(PlanRule rule, RankId rank, std::string text);
  [[nodiscard]] int row_of(SlotId slot) const { return layout_.local_of(slot).value(); }

  LayerTransfers const& lists_;
  SlotLayout const& layout_;
  std::span<ExpertId const> before_;
  std::span<ExpertId const> after_;
  int layer_;
  std::vector<SlotId> origin_;
  std::vector<bool> written_;
  std::vector<bool> received_;
  std::vector<Message> messages_{};
  std::vector<Expectation> expectations_{};
  std::vector<PlanViolation> violations_{};
};

}  // namespace switchyard::rebalance
