// SPDX-License-Identifier: Apache-2.0
// The AlltoAll plan on the reference's worked example (section 1.6; T=2, K=2, E=4, EP=2, TP=2), placements beyond
// Megatron's, refusals, and validation: every mutation of a sound plan is found.
//
// Experts per token: r0: t0{0,2} t1{2,3}; r1: t0{0,3} t1{0,1}; r2: t0{0,2} t1{0,1}; r3: t0{0,1} t1{0,3}. Rank 0 sends
// expert 0: t0, expert 2: t0 t1, expert 3: t1, hence 1 row to EP rank 0 and 3 to EP rank 1.
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "support/dispatch_cases.hpp"
#include "support/error_text.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/megatron_metadata.hpp"
#include "switchyard/io/dispatch_plan_json.hpp"

using namespace switchyard;
using support::contains;
using support::error_text;

namespace {

using Ints = std::vector<std::int64_t>;

RoutingMap two_tokens(std::vector<std::int32_t> ids) {
  return RoutingMap::from_topk(2, 4, 2, std::move(ids), {0.5F, 0.25F, 0.125F, 0.75F});
}

std::vector<RoutingMap> worked_routing() {
  return {two_tokens({0, 2, 2, 3}), two_tokens({0, 3, 0, 1}), two_tokens({0, 2, 0, 1}), two_tokens({0, 1, 0, 3})};
}

std::vector<DispatchPlan> worked_example(RowOrder order = RowOrder::tp_major) {
  AllToAllConfig config;
  config.grid = {2, 2};
  config.row_order = order;
  return plan_alltoall_group(config, worked_routing(), ExpertPlacement::contiguous(1, 4, 2), 0);
}

/// [rank, token] of the rows of one local expert, in order: every rank's sent tokens put through the plan's own sort.
Ints rows_of_expert(std::vector<DispatchPlan> const& plans, std::size_t rank, int local) {
  auto const& plan = plans[rank];
  auto const& grid = plan.setup.grid;
  std::vector<Ints> chunks(static_cast<std::size_t>(grid.world() * plan.num_local_experts()));
  for (auto const& source : plans) {
    auto const& gather = *source.find<RowGather>();
    std::size_t row = 0;
    for (int slot = 0; slot < plan.setup.num_slots; ++slot) {
      for (std::int64_t i = 0; i < source.rows_per_slot[static_cast<std::size_t>(slot)]; ++i, ++row) {
        int const mine = slot - plan.first_slot;
        if (mine != local) continue;
        int const s = grid.tp_rank_of(source.rank) * grid.ep + grid.ep_rank_of(source.rank);
        auto& chunk = chunks[static_cast<std::size_t>(s * plan.num_local_experts() + mine)];
        chunk.push_back(source.rank.value());
        chunk.push_back(gather.token_of_row[row]);
      }
    }
  }
  Ints rows;
  for (auto const chunk : plan.find<ChunkSort>()->order)
    rows.insert(rows.end(), chunks[static_cast<std::size_t>(chunk)].begin(),
                chunks[static_cast<std::size_t>(chunk)].end());
  return rows;
}

/// The one violated rule of a changed plan must be among those found.
void check_found(DispatchPlan const& sound, DispatchRule rule, std::function<void(DispatchPlan&)> const& change) {
  DispatchPlan broken = sound;
  change(broken);
  bool found = false;
  for (auto const& violation : validate(broken)) found = found || violation.rule == rule;
  CHECK_MESSAGE(found, to_string(rule));
  CHECK(broken.fingerprint() != sound.fingerprint());
  CHECK(contains(error_text(ErrorCode::invalid_plan, [&] { return require_valid(broken), 0; }), "breaks"));
}

template <typename Stage>
Stage& stage_of(DispatchPlan& plan) {
  for (auto& stage : plan.stages)
    if (auto* found = std::get_if<Stage>(&stage)) return *found;
  throw std::logic_error("no such stage");
}

}  // namespace

TEST_CASE("worked example: every integer") {
  auto const plans = worked_example();
  CHECK(validate_group(plans).empty());
  struct Expected {
    Ints input, output, output_tp, tokens;
  };
  std::vector<Expected> const expected = {{{1, 3}, {1, 3}, {4, 6}, {7, 3}},
                                          {{3, 1}, {3, 3}, {4, 6}, {7, 3}},
                                          {{3, 1}, {3, 1}, {4, 2}, {3, 3}},
                                          {{3, 1}, {1, 1}, {4, 2}, {3, 3}}};
  for (std::size_t rank = 0; rank < 4; ++rank) {
    CAPTURE(rank);
    auto const metadata = megatron_metadata(plans[rank]);
    CHECK(metadata.input_splits == expected[rank].input);
    CHECK(metadata.output_splits == expected[rank].output);
    CHECK(metadata.output_splits_tp == expected[rank].output_tp);
    CHECK(metadata.tokens_per_local_expert == expected[rank].tokens);
    CHECK(metadata.sort_input_by_local_experts == Ints{0, 2, 4, 6, 1, 3, 5, 7});
    CHECK(metadata.restore_output_by_local_experts == Ints{0, 4, 1, 5, 2, 6, 3, 7});
    CHECK(metadata.num_global_tokens_per_local_expert ==
          (rank < 2 ? Ints{1, 0, 2, 1, 2, 1, 2, 1} : Ints{2, 1, 1, 0, 0, 1, 0, 1}));
    CHECK(metadata.num_out_tokens == 4);
    CHECK(metadata.cuda_sync_point == SyncPoint::before_ep_alltoall);
  }
  CHECK(plans[0].rows_per_slot == Ints{1, 0, 2, 1});
  CHECK(megatron_metadata(plans[0]).permutation == Ints{0, 0, 1, 1});
  CHECK(plans[0].find<RowGather>()->rows_of_token == Ints{0, 1, 2, 3});
}

TEST_CASE("worked example: the two row orders") {
  CHECK(rows_of_expert(worked_example(), 0, 0) == Ints{0, 0, 2, 0, 2, 1, 1, 0, 1, 1, 3, 0, 3, 1});
  CHECK(rows_of_expert(worked_example(), 0, 1) == Ints{2, 1, 1, 1, 3, 0});
  CHECK(rows_of_expert(worked_example(RowOrder::rank_major), 0, 0) == Ints{0, 0, 1, 0, 1, 1, 2, 0, 2, 1, 3, 0, 3, 1});
  CHECK(rows_of_expert(worked_example(RowOrder::rank_major), 0, 1) == Ints{1, 1, 2, 1, 3, 0});
  // Chunks arrive by (tp, ep, local expert); ranks ascending are (ep, tp): the middle two source ranks change places.
  auto const metadata = megatron_metadata(worked_example(RowOrder::rank_major)[0]);
  CHECK(metadata.sort_input_by_local_experts == Ints{0, 4, 2, 6, 1, 5, 3, 7});
  CHECK(metadata.restore_output_by_local_experts == Ints{0, 4, 2, 6, 1, 5, 3, 7});
  CHECK(metadata.input_splits == megatron_metadata(worked_example()[0]).input_splits);
}

TEST_CASE("replicas: (token + source + layer) mod replicas, slots ascending") {
  // Expert 0 has slots 0, 2 and 3; layer 1, rank 1: token t goes to replica (t + 1 + 1) mod 3.
  ExpertPlacement const placement(
      2, 2, SlotLayout::uniform(2, 2),
      {ExpertId{0}, ExpertId{1}, ExpertId{0}, ExpertId{0}, ExpertId{0}, ExpertId{1}, ExpertId{0}, ExpertId{0}});
  AllToAllConfig config;
  config.grid = {1, 2};
  auto const routing = RoutingMap::from_topk(3, 2, 1, {0, 0, 0}, {1, 1, 1});
  auto const rows = assign_rows(config, RankId{1}, routing, placement, 1);
  CHECK(rows.rows_per_slot == Ints{1, 0, 1, 1});  // token 1 -> slot 0, token 2 -> slot 2, token 0 -> slot 3
  CHECK(rows.gather.token_of_row == Ints{1, 2, 0});
  config.replica_rule = ReplicaRule::first;
  CHECK(assign_rows(config, RankId{1}, routing, placement, 1).rows_per_slot == Ints{3, 0, 0, 0});
  CHECK(choose_replica(ReplicaRule::token_rank_layer, TokenIndex{(std::int64_t{1} << 40) + 1}, RankId{3}, 58, 4) == 2);
}

TEST_CASE("planner refuses what cannot be dispatched") {
  AllToAllConfig config;
  config.grid = {1, 2};
  auto const placement = ExpertPlacement::contiguous(1, 4, 2);
  auto const routing = two_tokens({0, 2, 2, 3});
  ExpertPlacement const lost(1, 4, SlotLayout::uniform(2, 2), {ExpertId{0}, ExpertId{1}, ExpertId{3}, kNoExpert});
  auto const missing =
      error_text(ErrorCode::invalid_placement, [&] { return assign_rows(config, RankId{1}, routing, lost, 0); });
  CHECK(contains(missing, "expert 2 of layer 0 has no slot, but token 0 of rank 1 chose it"));
  auto const spared = two_tokens({0, -1, -1, 3});
  CHECK_NOTHROW((void)assign_rows(config, RankId{1}, spared, lost, 0));

  auto const grid = [&](int tp, int ep, int rank) {
    AllToAllConfig other;
    other.grid = {tp, ep};
    return error_text(tp * ep > 0 && rank < tp * ep ? ErrorCode::shape_mismatch : ErrorCode::invalid_argument,
                      [&] { return assign_rows(other, RankId{rank}, routing, placement, 0); });
  };
  CHECK(contains(grid(0, 2, 0), "tp 0"));
  CHECK(contains(grid(1, 2, 2), "rank 2"));
  CHECK(contains(grid(1, 4, 0), "2 ranks but the dispatch grid has ep 4"));
  CHECK(contains(
      error_text(ErrorCode::shape_mismatch,
                 [&] { return assign_rows(config, RankId{0}, routing, ExpertPlacement::contiguous(1, 8, 2), 0); }),
      "routes over 4 experts"));
  CHECK(contains(
      error_text(ErrorCode::invalid_argument, [&] { return assign_rows(config, RankId{0}, routing, placement, 7); }),
      "7"));

  auto const step2 = [&](Ints const& counts, ErrorCode code, std::optional<CapacityLimit> limit = {}) {
    return error_text(code, [&] {
      return plan_alltoall(config, assign_rows(config, RankId{0}, routing, placement, 0), placement, 0, counts, limit);
    });
  };
  CHECK(contains(step2({1, 0, 2, 1}, ErrorCode::shape_mismatch), "2 ranks x 4 slots need 8"));
  CHECK(contains(step2({1, 0, 2, 2, 0, 0, 0, 0}, ErrorCode::invalid_plan), "1 rows to slot 3"));
  CHECK(contains(step2({1, 0, 2, 1, 0, -1, 0, 0}, ErrorCode::invalid_plan), "rank 1 announces -1 rows for slot 1"));
  CHECK(contains(step2({1, 0, 2, 1, 0, 0, 0, 0}, ErrorCode::invalid_plan, CapacityLimit{1, false}),
                 "2 rows for expert 2"));
  CHECK(contains(step2({1, 0, 2, 1, 0, 0, 0, 0}, ErrorCode::invalid_plan, CapacityLimit{2, true}),
                 "1 rows for expert 0"));
  config.row_order = RowOrder::rank_major;
  config.restore = ChunkRestore::megatron_seed;
  CHECK(contains(step2({1, 0, 2, 1, 0, 0, 0, 0}, ErrorCode::invalid_argument), "needs tp_major"));
}

TEST_CASE("sync points of both rules") {
  auto const plan = [](int tp, int ep, int experts, std::optional<CapacityLimit> limit) {
    AllToAllConfig config;
    config.grid = {tp, ep};
    std::vector<RoutingMap> const routings(static_cast<std::size_t>(tp * ep),
                                           RoutingMap::from_topk(0, experts, 1, {}, {}));
    std::vector<CapacityLimit> limits;
    if (limit) limits.assign(routings.size(), *limit);
    return plan_alltoall_group(config, routings, ExpertPlacement::contiguous(1, experts, ep), 0, limits).front();
  };
  auto const check = [](DispatchPlan const& value, SyncPoint seed, SyncPoint newest) {
    CHECK(sync_point(value, SyncRule::megatron_seed) == seed);
    CHECK(sync_point(value, SyncRule::megatron_newest) == newest);
  };
  check(plan(1, 1, 1, {}), SyncPoint::before_finish, SyncPoint::before_finish);
  check(plan(2, 1, 1, {}), SyncPoint::before_finish, SyncPoint::before_ep_alltoall);  // the seed's defect
  check(plan(1, 1, 2, {}), SyncPoint::before_ep_alltoall, SyncPoint::before_permutation_2);
  check(plan(1, 2, 2, {}), SyncPoint::before_ep_alltoall, SyncPoint::before_ep_alltoall);
  check(plan(1, 2, 2, CapacityLimit{0, false}), SyncPoint::before_permutation_1, SyncPoint::before_permutation_1);
  check(plan(1, 2, 2, CapacityLimit{0, true}), SyncPoint::no_sync, SyncPoint::no_sync);
}

TEST_CASE("padding to different capacities has no counterpart in Megatron") {
  AllToAllConfig config;
  config.grid = {1, 2};
  std::vector<RoutingMap> const routings = {RoutingMap::from_dense(1, 2, {1, 1}, {1, 1}),
                                            RoutingMap::from_dense(2, 2, {1, 1, 1, 1}, {1, 1, 1, 1})};
  std::vector<CapacityLimit> const limits = {{1, true}, {2, true}};
  auto const plans = plan_alltoall_group(config, routings, ExpertPlacement::contiguous(1, 2, 2), 0, limits);
  CHECK(validate_group(plans).empty());
  CHECK(contains(error_text(ErrorCode::unsupported, [&] { return megatron_metadata(plans[0]); }), "receives 3"));
}

TEST_CASE("a changed plan is found by the rule it breaks") {
  auto const sound = worked_example()[0];
  CHECK(validate(sound).empty());
  using Plan = DispatchPlan&;
  check_found(sound, DispatchRule::index_out_of_range, [](Plan p) { stage_of<RowGather>(p).token_of_row[1] = 2; });
  check_found(sound, DispatchRule::index_out_of_range, [](Plan p) { stage_of<RowGather>(p).rows_of_token[1] = -1; });
  check_found(sound, DispatchRule::index_out_of_range, [](Plan p) { stage_of<RowExchange>(p).send_rows[0] = -1; });
  check_found(sound, DispatchRule::index_out_of_range, [](Plan p) { p.first_slot = 3; });
  check_found(sound, DispatchRule::index_out_of_range, [](Plan p) { p.rank = RankId{4}; });
  check_found(sound, DispatchRule::index_out_of_range, [](Plan p) { p.capacity = CapacityLimit{-1, false}; });
  check_found(sound, DispatchRule::not_inverse, [](Plan p) { stage_of<RowGather>(p).rows_of_token = {0, 0, 2, 3}; });
  check_found(sound, DispatchRule::not_inverse, [](Plan p) { stage_of<RowGather>(p).slot_of_row = {1, 0, 0, 1}; });
  check_found(sound, DispatchRule::shape_mismatch, [](Plan p) { stage_of<RowGather>(p).row_begin = {0, 3, 2}; });
  check_found(sound, DispatchRule::shape_mismatch, [](Plan p) { stage_of<RowGather>(p).slot_of_row.pop_back(); });
  check_found(sound, DispatchRule::shape_mismatch, [](Plan p) { stage_of<ChunkSort>(p).sizes.pop_back(); });
  check_found(sound, DispatchRule::shape_mismatch, [](Plan p) { p.num_tokens = INT64_MAX; });
  check_found(sound, DispatchRule::shape_mismatch, [](Plan p) { p.setup.grid.tp = 0; });
  check_found(sound, DispatchRule::not_a_permutation, [](Plan p) { stage_of<ChunkSort>(p).order[0] = 2; });
  check_found(sound, DispatchRule::wrong_order,
              [](Plan p) { std::swap(stage_of<ChunkSort>(p).order[0], stage_of<ChunkSort>(p).order[1]); });
  check_found(sound, DispatchRule::wrong_order, [](Plan p) { p.stages.pop_back(); });
  check_found(sound, DispatchRule::wrong_order, [](Plan p) { std::swap(p.stages[0], p.stages[1]); });
  check_found(sound, DispatchRule::outside_group, [](Plan p) { stage_of<RowExchange>(p).send_rows[1] = 1; });
  check_found(sound, DispatchRule::outside_group, [](Plan p) { stage_of<GroupGather>(p).receive_rows[2] = 1; });
  check_found(sound, DispatchRule::rows_not_conserved, [](Plan p) { ++p.rows_per_slot[0]; });
  check_found(sound, DispatchRule::rows_not_conserved, [](Plan p) { ++stage_of<RowExchange>(p).send_rows[0]; });
  check_found(sound, DispatchRule::rows_not_conserved, [](Plan p) { ++stage_of<GroupGather>(p).own_rows; });
  check_found(sound, DispatchRule::rows_not_conserved, [](Plan p) { ++stage_of<ChunkSort>(p).sizes[0]; });
  check_found(sound, DispatchRule::rows_not_conserved, [](Plan p) { ++p.tokens_per_local_expert[1]; });
  check_found(sound, DispatchRule::rows_not_conserved, [](Plan p) {
    stage_of<RowExchange>(p).receive_rows = {INT64_MAX - 1, 0, INT64_MAX - 1, 0};
  });
}

TEST_CASE("a group whose plans do not fit each other is found") {
  auto const sound = worked_example();
  auto const rules = [](std::vector<DispatchPlan> const& plans) {
    std::string names;
    for (auto const& violation : validate_group(plans)) names += std::string(to_string(violation.rule)) + " ";
    return names;
  };
  CHECK(rules(sound).empty());
  CHECK(contains(rules({}), "shape_mismatch"));
  CHECK(contains(rules({sound[0], sound[1], sound[2]}), "shape_mismatch"));
  CHECK(contains(rules({sound[1], sound[0], sound[2], sound[3]}), "setup_mismatch"));
  auto other = sound;
  other[2].setup.layer = 1;
  CHECK(contains(rules(other), "setup_mismatch"));
  // Sound alone, wrong together: rank 1 routes differently from what the others were told.
  auto routings = worked_routing();
  routings[1] = two_tokens({0, 3, 2, 3});
  AllToAllConfig config;
  config.grid = {2, 2};
  auto const changed = plan_alltoall_group(config, routings, ExpertPlacement::contiguous(1, 4, 2), 0);
  std::vector<DispatchPlan> const mixed = {sound[0], changed[1], sound[2], sound[3]};
  for (auto const& plan : mixed) CHECK(validate(plan).empty());
  CHECK(contains(rules(mixed), "pair_mismatch"));
  CHECK(contains(rules(mixed), "count_mismatch"));
}

TEST_CASE("JSON keeps every field and refuses damage") {
  auto plan = worked_example()[1];
  plan.capacity = CapacityLimit{5, true};
  auto const text = io::to_json(plan);
  CHECK(io::dispatch_plan_from_json(text, "t") == plan);
  CHECK(io::to_json(io::dispatch_plan_from_json(text, "t")) == text);
  auto const replaced = [&](std::string const& from, std::string const& to) {
    auto changed = text;
    changed.replace(changed.find(from), from.size(), to);
    return changed;
  };
  auto const refused = [](std::string const& broken, ErrorCode code) {
    return error_text(code, [&] { return io::dispatch_plan_from_json(broken, "file.json"); });
  };
  CHECK(contains(refused(replaced("\"rank\": 1", "\"rank\": 2"), ErrorCode::invalid_plan), "fingerprint"));
  CHECK(contains(refused(replaced("\"schema_version\": 1", "\"schema_version\": 2"), ErrorCode::parse), "version"));
  CHECK(contains(refused(replaced("tp_major", "tp_minor"), ErrorCode::parse), "$.setup.row_order"));
  CHECK(contains(refused(replaced("\"stage\": \"exchange\"", "\"stage\": \"teleport\""), ErrorCode::parse),
                 "$.stages[1].stage"));
  CHECK(contains(refused(replaced("\"own_rows\": ", "\"own_rows\": 1.5, \"x\": "), ErrorCode::parse), "$.stages[2]"));
  for (std::size_t length = 0; length < text.size() - 1; length += 7)
    CHECK(refused(text.substr(0, length), ErrorCode::parse) != "<no error>");
}
