// SPDX-License-Identifier: Apache-2.0
#include "switchyard/rebalance/rebalance_plan.hpp"

#include <algorithm>
#include <array>

#include "switchyard/internal/to_size.hpp"

namespace switchyard {

namespace {

// Field numbers of RebalancePlan's fingerprint (docs/formats/plan.md). The list fields are numbered through over layers
// and ranks; the count fields pin where one rank's list ends.
enum Field : std::uint32_t {
  kFieldSchema = 1,
  kFieldBefore = 2,
  kFieldAfter = 3,
  kFieldMode = 4,
  kFieldNewRankOf = 5,
  kFieldLayers = 6,
  kFieldRanksOfLayer = 7,
  kFieldCounts = 8,
  kFieldEntries = 9,
};

class PlanDigest {
 public:
  void add_ranks_of_layer(std::size_t count) {
    builder_.add_at(kFieldRanksOfLayer, num_layers_++, static_cast<std::int64_t>(count));
  }
  void add_rank(RankTransfers const& rank) {
    add_list(rank.sends, [](ExpertSend const& s) { return std::array{s.source_row.value(), s.to.value()}; });
    add_list(rank.receives, [](ExpertReceive const& r) { return std::array{r.target_row.value(), r.from.value()}; });
    add_list(rank.local_copies, rows_of);
    add_list(rank.duplicates, rows_of);
  }
  [[nodiscard]] FingerprintBuilder& builder() { return builder_; }

 private:
  static std::array<std::int32_t, 2> rows_of(LocalCopy const& copy) {
    return {copy.source_row.value(), copy.target_row.value()};
  }
  template <typename Entry, typename Rest>
  void add_list(std::vector<Entry> const& list, Rest const& rest) {
    builder_.add_at(kFieldCounts, num_lists_++, static_cast<std::int64_t>(list.size()));
    for (auto const& entry : list) {
      auto const [second, third] = rest(entry);
      for (std::int32_t const value : {entry.expert.value(), second, third}) {
        builder_.add_at(kFieldEntries, num_values_++, value);
      }
    }
  }

  FingerprintBuilder builder_{};
  std::uint64_t num_layers_ = 0;
  std::uint64_t num_lists_ = 0;
  std::uint64_t num_values_ = 0;
};

std::int64_t count_unchanged(RebalancePlan const& plan) {
  auto const before = plan.before.slot_to_expert();
  auto const after = plan.after.slot_to_expert();
  std::int64_t unchanged = 0;
  for (std::size_t slot = 0; slot < std::min(before.size(), after.size()); ++slot) {
    unchanged += before[slot] == after[slot] && before[slot].valid() ? 1 : 0;
  }
  return unchanged;
}

}  // namespace

Fingerprint RebalancePlan::fingerprint() const {
  PlanDigest digest;
  FingerprintBuilder& builder = digest.builder();
  builder.add(kFieldSchema, kSchemaVersion);
  builder.add(kFieldBefore, static_cast<std::int64_t>(before.fingerprint().value));
  builder.add(kFieldAfter, static_cast<std::int64_t>(after.fingerprint().value));
  builder.add(kFieldMode, static_cast<std::int64_t>(mapping.mode));
  for (std::size_t rank = 0; rank < mapping.new_rank_of.size(); ++rank) {
    builder.add_at(kFieldNewRankOf, rank, mapping.new_rank_of[rank].value());
  }
  builder.add(kFieldLayers, static_cast<std::int64_t>(layers.size()));
  for (auto const& layer : layers) {
    digest.add_ranks_of_layer(layer.ranks.size());
    for (auto const& rank : layer.ranks) {
      digest.add_rank(rank);
    }
  }
  return builder.result();
}

RebalanceTotals totals(RebalancePlan const& plan) {
  RebalanceTotals sum;
  sum.unchanged = count_unchanged(plan);
  std::vector<std::int64_t> sends(to_size(plan.before.num_ranks()), 0);
  std::vector<std::int64_t> receives(sends.size(), 0);
  for (auto const& layer : plan.layers) {
    for (std::size_t rank = 0; rank < std::min(layer.ranks.size(), sends.size()); ++rank) {
      auto const& lists = layer.ranks[rank];
      sends[rank] += static_cast<std::int64_t>(lists.sends.size());
      receives[rank] += static_cast<std::int64_t>(lists.receives.size());
      sum.network_copies += static_cast<std::int64_t>(lists.sends.size());
      sum.local_copies += static_cast<std::int64_t>(lists.local_copies.size());
      sum.duplicates += static_cast<std::int64_t>(lists.duplicates.size());
      sum.max_sends_of_rank = std::max(sum.max_sends_of_rank, sends[rank]);
      sum.max_receives_of_rank = std::max(sum.max_receives_of_rank, receives[rank]);
    }
  }
  return sum;
}

std::string_view to_string(PlanRule rule) noexcept {
  switch (rule) {
    case PlanRule::shape_mismatch: return "shape_mismatch";
    case PlanRule::invalid_mapping: return "invalid_mapping";
    case PlanRule::id_out_of_range: return "id_out_of_range";
    case PlanRule::missing_source: return "missing_source";
    case PlanRule::lost_expert: return "lost_expert";
    case PlanRule::wrong_source: return "wrong_source";
    case PlanRule::wrong_target: return "wrong_target";
    case PlanRule::unwritten_row: return "unwritten_row";
    case PlanRule::written_twice: return "written_twice";
    case PlanRule::unmatched_send: return "unmatched_send";
    case PlanRule::unmatched_receive: return "unmatched_receive";
    case PlanRule::order_mismatch: return "order_mismatch";
    case PlanRule::self_transfer: return "self_transfer";
    case PlanRule::dead_rank: return "dead_rank";
    case PlanRule::wrong_reload: return "wrong_reload";
    case PlanRule::busy_port: return "busy_port";
    case PlanRule::busy_row: return "busy_row";
    case PlanRule::last_copy: return "last_copy";
    case PlanRule::wrong_claim: return "wrong_claim";
  }
  return "unknown";
}

}  // namespace switchyard
