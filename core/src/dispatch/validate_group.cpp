// SPDX-License-Identifier: Apache-2.0
// The conservation laws between the plans of one group.
#include "chunk_order.hpp"
#include "row_sums.hpp"
#include "switchyard/internal/to_size.hpp"
#include "violation_report.hpp"

namespace switchyard {
namespace {

class GroupChecker {
 public:
  explicit GroupChecker(std::span<DispatchPlan const> plans) : plans_(plans) {}

  std::vector<DispatchViolation> run() {
    for (auto const& plan : plans_) report_.append(validate(plan));
    if (!report_.clean() || !check_membership()) return std::move(report_).take();
    check_slots();
    for (auto const& plan : plans_) {
      check_arrivals(plan);
      if (auto const* exchange = plan.find<RowExchange>()) check_exchange(plan, *exchange);
      if (auto const* gather = plan.find<TpGather>()) check_tp_gather(plan, *gather);
      if (auto const* sort = plan.find<ChunkSort>()) check_chunks(plan, *sort);
    }
    return std::move(report_).take();
  }

 private:
  [[nodiscard]] ExpertParallelGrid grid() const { return plans_.front().setup.grid; }

  bool check_membership() {
    if (!report_.expect(!plans_.empty(), DispatchRule::shape_mismatch, RankId{-1}, "a group without plans"))
      return false;
    bool good = report_.expect(static_cast<std::int64_t>(plans_.size()) == grid().world(), DispatchRule::shape_mismatch,
                               RankId{-1}, "{} plans for a world of {} ranks", plans_.size(), grid().world());
    for (std::size_t i = 0; i < plans_.size(); ++i) {
      auto const& plan = plans_[i];
      good &= report_.expect(plan.rank.index() == i, DispatchRule::setup_mismatch, plan.rank,
                             "plan {} of the group is that of rank {}", i, plan.rank.value());
      good &= report_.expect(plan.setup == plans_.front().setup, DispatchRule::setup_mismatch, plan.rank,
                             "setup {} differs from that of rank {}, {}", plan.setup.fingerprint().to_hex(),
                             plans_.front().rank.value(), plans_.front().setup.fingerprint().to_hex());
    }
    return good;
  }

  /// EP ranks own adjacent blocks of slots that cover all of them; TP ranks of one EP rank own the same block.
  void check_slots() {
    std::int64_t next = 0;
    for (int ep = 0; ep < grid().ep; ++ep) {
      auto const& first = plan_of(grid().rank_of(ep, 0));
      for (int tp = 0; tp < grid().tp; ++tp) {
        auto const& plan = plan_of(grid().rank_of(ep, tp));
        report_.expect(plan.first_slot == next && plan.num_local_experts() == first.num_local_experts(),
                       DispatchRule::setup_mismatch, plan.rank,
                       "owns slots from {} on, {} of them, instead of {} and {}", plan.first_slot,
                       plan.num_local_experts(), next, first.num_local_experts());
      }
      next += first.num_local_experts();
    }
    report_.expect(next == plans_.front().setup.num_slots, DispatchRule::shape_mismatch, RankId{-1},
                   "ranks own {} slots together instead of {}", next, plans_.front().setup.num_slots);
  }

  void check_arrivals(DispatchPlan const& plan) {
    for (int local = 0; local < plan.num_local_experts(); ++local) {
      std::int64_t sent = 0;
      for (auto const& source : plans_) sent = saturating_add(sent, rows_sent(source, plan, local));
      auto const expected = plan.tokens_per_local_expert[to_size(local)];
      report_.expect(sent == expected, DispatchRule::count_mismatch, plan.rank,
                     "local expert {} (slot {}) expects {} rows but its sources send {}", local,
                     plan.first_slot + local, expected, sent);
    }
  }

  void check_exchange(DispatchPlan const& plan, RowExchange const& exchange) {
    for (auto const& peer : plans_) {
      if (!grid().same_lane(plan.rank, peer.rank)) continue;
      std::int64_t to_peer = 0;
      for (int local = 0; local < peer.num_local_experts(); ++local)
        to_peer = saturating_add(to_peer, rows_sent(plan, peer, local));
      auto const sent = exchange.send_rows[peer.rank.index()];
      report_.expect(sent == to_peer, DispatchRule::rows_not_conserved, plan.rank,
                     "sends {} rows to rank {}, whose slots take {} of them", sent, peer.rank.value(), to_peer);
      auto const* peer_exchange = peer.find<RowExchange>();
      auto const received = peer_exchange ? peer_exchange->receive_rows[plan.rank.index()] : 0;
      report_.expect(sent == received, DispatchRule::pair_mismatch, peer.rank,
                     "rank {} sends {} rows to rank {}, which expects {}", plan.rank.value(), sent, peer.rank.value(),
                     received);
    }
  }

  void check_tp_gather(DispatchPlan const& plan, TpGather const& gather) {
    for (auto const& peer : plans_) {
      if (!grid().same_experts(plan.rank, peer.rank)) continue;
      auto const* peer_gather = peer.find<TpGather>();
      auto const expected = gather.receive_rows[peer.rank.index()];
      auto const offered = peer_gather ? peer_gather->own_rows : 0;
      report_.expect(expected == offered, DispatchRule::pair_mismatch, plan.rank,
                     "TP gather: rank {} contributes {} rows, rank {} expects {}", peer.rank.value(), offered,
                     plan.rank.value(), expected);
    }
  }

  void check_chunks(DispatchPlan const& plan, ChunkSort const& sort) {
    std::int64_t const num_local = plan.num_local_experts();
    for (auto const& source : plans_) {
      for (int local = 0; local < num_local; ++local) {
        auto const chunk = chunk_index(grid(), source.rank, local, num_local);
        auto const sent = rows_sent(source, plan, local);
        report_.expect(sort.sizes[to_size(chunk)] == sent, DispatchRule::count_mismatch, plan.rank,
                       "chunk {} has {} rows, but rank {} sends {} to local expert {}", chunk,
                       sort.sizes[to_size(chunk)], source.rank.value(), sent, local);
      }
    }
  }

  [[nodiscard]] DispatchPlan const& plan_of(RankId rank) const { return plans_[rank.index()]; }
  [[nodiscard]] static std::int64_t rows_sent(DispatchPlan const& source, DispatchPlan const& target, int local) {
    return source.rows_per_slot[to_size(target.first_slot + local)];
  }

  std::span<DispatchPlan const> plans_;
  ViolationReport report_;
};

}  // namespace

std::vector<DispatchViolation> validate_group(std::span<DispatchPlan const> plans) {
  return GroupChecker(plans).run();
}

}  // namespace switchyard
