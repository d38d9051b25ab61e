// SPDX-License-Identifier: Apache-2.0
// The conservation laws between the plans of one group.
#include <algorithm>

#include "check_contents.hpp"
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
      check_path(plan, plan.stages, &DispatchPlan::stages);
      check_path(plan, plan.row_return, &DispatchPlan::row_return);
    }
    if (report_.clean()) check_contents(plans_, report_);
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

  /// Owners of expert blocks (EP ranks; megablocks: world / hidden shards) have adjacent blocks of slots that cover all
  /// of them; every rank of one owner (its TP ranks; its hidden shards) owns the same block.
  void check_slots() {
    auto const& setup = plans_.front().setup;
    int const owners = grid().ep / setup.hidden_shards;
    std::int64_t next = 0;
    for (int owner = 0; owner < owners; ++owner) {
      auto const& first = plan_of(grid().rank_of(owner, 0));
      for (int replica = 0; replica < grid().tp * setup.hidden_shards; ++replica) {
        int const ep = owner + replica / grid().tp * owners;
        auto const& plan = plan_of(grid().rank_of(ep, replica % grid().tp));
        report_.expect(plan.first_slot == next && plan.num_local_experts() == first.num_local_experts(),
                       DispatchRule::setup_mismatch, plan.rank,
                       "owns slots from {} on, {} of them, instead of {} and {}", plan.first_slot,
                       plan.num_local_experts(), next, first.num_local_experts());
        report_.expect(
            plan.tokens_per_local_expert == first.tokens_per_local_expert, DispatchRule::count_mismatch, plan.rank,
            "its experts' blocks have other sizes than those of rank {}, which shares its experts", first.rank.value());
      }
      next += first.num_local_experts();
    }
    report_.expect(next == setup.num_slots, DispatchRule::shape_mismatch, RankId{-1},
                   "ranks own {} slots together instead of {}", next, setup.num_slots);
  }

  /// A bin of a capacity takes what it can; everything else takes all.
  void check_arrivals(DispatchPlan const& plan) {
    auto const filled = filled_rows(plan);
    for (int local = 0; local < plan.num_local_experts(); ++local) {
      std::int64_t expected = 0;
      for (auto const& source : plans_) expected = saturating_add(expected, rows_sent(source, plan, local));
      if (plan.setup.bins == ExpertBins::capacity)
        expected = std::min(expected, plan.tokens_per_local_expert[to_size(local)]);
      report_.expect(expected == filled[to_size(local)], DispatchRule::count_mismatch, plan.rank,
                     "local expert {} (slot {}) takes {} rows but its sources send {}", local, plan.first_slot + local,
                     filled[to_size(local)], expected);
    }
  }

  using Path = std::vector<DispatchStage>;

  /// The first stage of a type on a path, or null.
  template <typename Stage>
  static Stage const* find(Path const& path) {
    for (auto const& stage : path)
      if (auto const* found = std::get_if<Stage>(&stage)) return found;
    return nullptr;
  }

  void check_path(DispatchPlan const& plan, Path const& path, Path DispatchPlan::*member) {
    if (auto const* exchange = find<RowExchange>(path)) check_exchange(plan, *exchange, member);
    if (auto const* gather = find<GroupGather>(path)) check_gather(plan, *gather, member);
    if (auto const* sort = find<ChunkSort>(path)) check_chunks(plan, *sort);
  }

  void check_exchange(DispatchPlan const& plan, RowExchange const& exchange, Path DispatchPlan::*member) {
    bool const row_by_row = member == &DispatchPlan::row_return || plan.row_return.empty();
    for (auto const& peer : plans_) {
      auto const sent = exchange.send_rows[peer.rank.index()];
      auto const* peer_exchange = find<RowExchange>(peer.*member);
      auto const received = peer_exchange ? peer_exchange->receive_rows[plan.rank.index()] : 0;
      report_.expect(sent == received, DispatchRule::pair_mismatch, peer.rank,
                     "rank {} sends {} rows to rank {}, which expects {}", plan.rank.value(), sent, peer.rank.value(),
                     received);
      bool const lane = grid().same_lane(plan.rank, peer.rank);
      if (!row_by_row || !lane) continue;
      std::int64_t to_peer = 0;
      for (int local = 0; local < peer.num_local_experts(); ++local)
        to_peer = saturating_add(to_peer, rows_sent(plan, peer, local));
      report_.expect(sent == to_peer, DispatchRule::rows_not_conserved, plan.rank,
                     "sends {} rows to rank {}, whose slots take {} of them", sent, peer.rank.value(), to_peer);
    }
  }

  void check_gather(DispatchPlan const& plan, GroupGather const& gather, Path DispatchPlan::*member) {
    for (auto const& peer : plans_) {
      if (gather.group == GatherGroup::tp && !grid().same_experts(plan.rank, peer.rank)) continue;
      auto const* peer_gather = find<GroupGather>(peer.*member);
      auto const expected = gather.receive_rows[peer.rank.index()];
      auto const offered = peer_gather ? peer_gather->own_rows : 0;
      report_.expect(expected == offered, DispatchRule::pair_mismatch, plan.rank,
                     "gather: rank {} contributes {} rows, rank {} expects {}", peer.rank.value(), offered,
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
