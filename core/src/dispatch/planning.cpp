// SPDX-License-Identifier: Apache-2.0
#include "planning.hpp"

#include <algorithm>

#include "switchyard/dispatch/row_order.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {

Fingerprint layer_fingerprint(ExpertPlacement const& placement, int layer) {
  FingerprintBuilder builder;
  auto const& layout = placement.layout();
  for (int rank = 0; rank < layout.num_ranks(); ++rank)
    builder.add_at(1, static_cast<std::uint64_t>(rank), layout.slots_of(RankId{rank}));
  auto const slots = placement.layer(layer);
  for (std::size_t slot = 0; slot < slots.size(); ++slot) builder.add_at(2, slot, slots[slot].value());
  return builder.result();
}

void require_world(Communicator const& comm, ExpertParallelGrid const& grid) {
  SWITCHYARD_REQUIRE(comm.size() == grid.world(), invalid_argument,
                     "communicator of {} ranks for a dispatch grid of tp {} x ep {}", comm.size(), grid.tp, grid.ep);
}

void require_group(ExpertParallelGrid const& grid, std::span<RoutingMap const> routings,
                   std::span<CapacityLimit const> limits) {
  std::size_t const world = to_size(grid.world());
  SWITCHYARD_REQUIRE(routings.size() == world && (limits.empty() || limits.size() == world), shape_mismatch,
                     "a dispatch grid of {} ranks needs as many routings and limits, got {} and {}", world,
                     routings.size(), limits.size());
}

DispatchSetup make_setup(DispatchFamily family, AllToAllConfig const& config, ExpertPlacement const& placement,
                         int layer) {
  DispatchSetup setup;
  setup.family = family;
  setup.row_order = config.row_order;
  setup.restore = config.restore;
  setup.grid = config.grid;
  setup.layer = layer;
  setup.num_experts = placement.num_experts();
  setup.num_slots = placement.num_slots();
  setup.placement = layer_fingerprint(placement, layer);
  return setup;
}

GatheredCounts::GatheredCounts(std::span<std::int64_t const> counts, int world, ExpertPlacement const& placement)
    : counts_(counts), layout_(placement.layout()), num_slots_(placement.num_slots()) {
  auto const expected = checked_mul(world, num_slots_);
  SWITCHYARD_REQUIRE(counts.size() == to_size(expected), shape_mismatch,
                     "gathered counts hold {} numbers: {} ranks x {} slots need {}", counts.size(), world, num_slots_,
                     expected);
  auto const bad = std::find_if(counts.begin(), counts.end(), [](std::int64_t count) { return count < 0; });
  SWITCHYARD_REQUIRE(bad == counts.end(), invalid_plan, "rank {} announces {} rows for slot {}",
                     (bad - counts.begin()) / std::max(num_slots_, 1), *bad,
                     (bad - counts.begin()) % std::max(num_slots_, 1));
}

std::int64_t GatheredCounts::rows(RankId source, int slot) const {
  return counts_[source.index() * to_size(num_slots_) + to_size(slot)];
}

std::int64_t GatheredCounts::rows_for(RankId source, int owner) const {
  int const first = layout_.first_slot(RankId{owner}).value();
  std::int64_t sum = 0;
  for (int slot = first; slot < first + layout_.slots_of(RankId{owner}); ++slot)
    sum = checked_add(sum, rows(source, slot));
  return sum;
}

void require_own_counts(RowAssignment const& assignment, GatheredCounts const& counts) {
  for (std::size_t slot = 0; slot < assignment.rows_per_slot.size(); ++slot) {
    std::int64_t const gathered = counts.rows(assignment.rank, static_cast<int>(slot));
    SWITCHYARD_REQUIRE(gathered == assignment.rows_per_slot[slot], invalid_plan,
                       "rank {} sends {} rows to slot {}, but the gathered counts say {}: they belong to another "
                       "routing or another order of ranks",
                       assignment.rank.value(), assignment.rows_per_slot[slot], slot, gathered);
  }
}

namespace {

/// A choice of a local expert among those that arrived.
struct ArrivedRow {
  std::int64_t bucket;  ///< (local expert, position of the source)
  std::int64_t input;
  std::int64_t column;
};

/// Calls visit(row) for every row, input rows and columns ascending. Few of the choices name a local expert and nobody
/// can tell which, so every choice is noted and kept by moving on: a branch per choice costs several times as much.
template <typename Visit>
void for_arriving_rows(Arrivals const& in, Visit const& visit) {
  constexpr std::size_t kNoted = 256;
  ArrivedRow noted[kNoted];
  std::size_t count = 0;
  auto const hand_on = [&] {
    for (std::size_t i = 0; i < count; ++i) visit(noted[i]);
    count = 0;
  };
  std::int64_t const world = in.grid.world();
  std::int32_t const* choice = in.local_experts.data();
  std::int64_t input = 0;
  for (int source = 0; source < world; ++source) {
    std::int64_t const position = source_position(in.grid, in.row_order, RankId{source});
    for (std::int64_t const end = input + in.rows_of_source[to_size(source)]; input < end; ++input) {
      for (std::int64_t column = 0; column < in.columns; ++column, ++choice) {
        noted[count] = {*choice * world + position, input, column};
        count += *choice >= 0 ? 1 : 0;
        if (count == kNoted) hand_on();
      }
    }
  }
  hand_on();
}

}  // namespace

RowGather expand_rows(Arrivals const& arrivals) {
  std::vector<std::int64_t> next(to_size(checked_mul(arrivals.num_local, arrivals.grid.world())) + 1, 0);
  for_arriving_rows(arrivals, [&](ArrivedRow const& arrived) { ++next[to_size(arrived.bucket) + 1]; });
  for (std::size_t bucket = 1; bucket < next.size(); ++bucket) next[bucket] += next[bucket - 1];
  RowGather gather;
  gather.token_of_row.resize(to_size(next.back()));
  gather.slot_of_row.resize(to_size(next.back()));
  for_arriving_rows(arrivals, [&](ArrivedRow const& arrived) {
    std::size_t const row = to_size(next[to_size(arrived.bucket)]++);
    gather.token_of_row[row] = arrived.input;
    gather.slot_of_row[row] = arrived.column;
  });
  std::int64_t inputs = 0;
  for (std::int64_t const count : arrivals.rows_of_source) inputs = checked_add(inputs, count);
  fill_row_lists(gather, inputs);
  return gather;
}

CountedChoices count_choices(std::span<std::int32_t const> choices, std::int32_t bound) {
  CountedChoices counted;
  std::vector<std::int64_t> counts(to_size(bound) + 1, 0);  // counts[0]: dropped choices
  for (std::size_t i = 0; i < choices.size(); ++i) {
    auto const place = static_cast<std::uint32_t>(choices[i]) + 1U;
    if (place > static_cast<std::uint32_t>(bound)) {
      counted.first_bad = static_cast<std::int64_t>(i);
      return counted;
    }
    ++counts[place];
  }
  counted.counts.assign(counts.begin() + 1, counts.end());
  return counted;
}

void fill_row_lists(RowGather& gather, std::int64_t inputs) {
  gather.row_begin.assign(to_size(inputs) + 1, 0);
  for (std::int64_t const input : gather.token_of_row)
    if (input >= 0) ++gather.row_begin[to_size(input) + 1];
  for (std::size_t i = 1; i < gather.row_begin.size(); ++i) gather.row_begin[i] += gather.row_begin[i - 1];
  gather.rows_of_token.resize(to_size(gather.row_begin.back()));
  std::vector<std::int64_t> next(gather.row_begin.begin(), gather.row_begin.end() - 1);
  for (std::size_t row = 0; row < gather.token_of_row.size(); ++row) {
    std::int64_t const input = gather.token_of_row[row];
    if (input >= 0) gather.rows_of_token[to_size(next[to_size(input)]++)] = static_cast<std::int64_t>(row);
  }
}

}  // namespace switchyard
