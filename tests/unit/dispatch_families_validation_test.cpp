// SPDX-License-Identifier: Apache-2.0
// Validation of AllGather, Flex and MegaBlocks plans: every mutation is found by the rule it breaks, alone or in the
// group; JSON keeps every field.
//
// By hand: rank 0 of the AllGather example has rows of input tokens 0 2 3 ... for expert 0. With the first two swapped
// (lists too) every row still has its token, but 2 before 0 is not the row order: wrong_order.
#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "support/dispatch_examples.hpp"
#include "support/error_text.hpp"
#include "switchyard/io/dispatch_plan_json.hpp"

using namespace switchyard;
using support::allgather_example;
using support::contains;
using support::error_text;
using support::examples;
using support::flex_example;
using support::Ints;
using support::megablocks_example;
using support::Plans;

namespace {

RowGather& last_gather(DispatchPlan& plan) {
  return std::get<RowGather>(plan.stages.back());
}

void check_found(DispatchPlan const& sound, DispatchRule rule, std::function<void(DispatchPlan&)> const& change) {
  DispatchPlan broken = sound;
  change(broken);
  bool found = false;
  for (auto const& violation : validate(broken)) found = found || violation.rule == rule;
  CHECK_MESSAGE(found, to_string(rule));
  CHECK(broken.fingerprint() != sound.fingerprint());
}

/// Sound alone, wrong in the group.
void check_found_in_group(Plans const& sound, std::size_t rank, DispatchRule rule,
                          std::function<void(DispatchPlan&)> const& change) {
  Plans broken = sound;
  change(broken[rank]);
  auto const alone = validate(broken[rank]);
  if (!alone.empty()) FAIL_CHECK(alone.front().text);
  bool found = false;
  for (auto const& violation : validate_group(broken)) found = found || violation.rule == rule;
  CHECK_MESSAGE(found, to_string(rule));
}

/// Every list of a plan's stages and counts.
std::vector<Ints*> lists_of(DispatchPlan& plan) {
  std::vector<Ints*> lists{&plan.rows_per_slot, &plan.tokens_per_local_expert};
  for (auto* path : {&plan.stages, &plan.row_return}) {
    for (auto& stage : *path) {
      if (auto* gather = std::get_if<RowGather>(&stage))
        lists.insert(lists.end(),
                     {&gather->token_of_row, &gather->slot_of_row, &gather->row_begin, &gather->rows_of_token});
      if (auto* exchange = std::get_if<RowExchange>(&stage))
        lists.insert(lists.end(), {&exchange->send_rows, &exchange->receive_rows});
      if (auto* gather = std::get_if<GroupGather>(&stage)) lists.push_back(&gather->receive_rows);
      if (auto* sort = std::get_if<ChunkSort>(&stage)) lists.insert(lists.end(), {&sort->sizes, &sort->order});
    }
  }
  return lists;
}

/// Puts `value` at every place of every list of rank 0's plan in turn; calls check(broken group, list, place).
template <typename Check>
void replace_each(Plans const& sound, std::int64_t value, Check const& check) {
  auto plan = sound[0];
  std::size_t const num_lists = lists_of(plan).size();
  for (std::size_t list = 0; list < num_lists; ++list) {
    for (std::size_t place = 0; place < lists_of(plan)[list]->size(); ++place) {
      Plans broken = sound;
      auto& entry = (*lists_of(broken[0])[list])[place];
      if (entry == value) continue;
      entry = value;
      check(broken, list, place);
    }
  }
}

}  // namespace

TEST_CASE("no single integer of a plan can change unnoticed, whatever its value") {
  std::int64_t replaced = 0;
  for (auto const& plans : examples()) {
    CAPTURE(to_string(plans[0].setup.family));
    for (std::int64_t const value : {INT64_MIN, std::int64_t{-2}, std::int64_t{-1}, std::int64_t{0}, std::int64_t{1},
                                     std::int64_t{2}, std::int64_t{3}, std::int64_t{9}, INT64_MAX}) {
      replace_each(plans, value, [&](Plans const& broken, std::size_t list, std::size_t place) {
        CAPTURE(value);
        CAPTURE(list);
        CAPTURE(place);
        CHECK_FALSE(validate_group(broken).empty());
        ++replaced;
      });
    }
  }
  MESSAGE("integers replaced: " << replaced);
  CHECK(replaced > 1000);
}

TEST_CASE("a list that loses or gains an entry is found") {
  for (auto const& plans : examples()) {
    auto plan = plans[0];
    for (std::size_t list = 0; list < lists_of(plan).size(); ++list) {
      CAPTURE(list);
      Plans broken = plans;
      lists_of(broken[0])[list]->push_back(0);
      CHECK_FALSE(validate_group(broken).empty());
      if (lists_of(plan)[list]->empty()) continue;
      broken = plans;
      lists_of(broken[0])[list]->pop_back();
      CHECK_FALSE(validate_group(broken).empty());
      broken[0] = plans[0];
      lists_of(broken[0])[list]->clear();
      CHECK_FALSE(validate_group(broken).empty());
    }
  }
}

TEST_CASE("a changed plan of any family is found by the rule it breaks") {
  using Plan = DispatchPlan&;
  for (auto const& plans : examples()) {
    auto const& sound = plans[0];
    CAPTURE(to_string(sound.setup.family));
    CHECK(validate_group(plans).empty());
    check_found(sound, DispatchRule::index_out_of_range, [](Plan p) { last_gather(p).token_of_row[0] = 99; });
    check_found(sound, DispatchRule::index_out_of_range, [](Plan p) { last_gather(p).rows_of_token[0] = -1; });
    check_found(sound, DispatchRule::not_inverse,
                [](Plan p) { std::swap(last_gather(p).rows_of_token[0], last_gather(p).rows_of_token[1]); });
    check_found(sound, DispatchRule::shape_mismatch, [](Plan p) { last_gather(p).row_begin.pop_back(); });
    check_found(sound, DispatchRule::shape_mismatch, [](Plan p) { last_gather(p).slot_of_row.push_back(0); });
    check_found(sound, DispatchRule::wrong_order, [](Plan p) { p.stages.pop_back(); });
    check_found(sound, DispatchRule::wrong_order, [](Plan p) { p.stages.push_back(p.stages.back()); });
    check_found(sound, DispatchRule::wrong_order, [](Plan p) { p.row_return.push_back(p.stages.back()); });
    check_found(sound, DispatchRule::rows_not_conserved, [](Plan p) { ++p.tokens_per_local_expert[1]; });
    check_found(sound, DispatchRule::shape_mismatch, [](Plan p) { p.setup.hidden_shards = 3; });
  }
  auto const gathered = allgather_example()[0];
  check_found(gathered, DispatchRule::wrong_order, [](Plan p) { std::swap(p.stages[0], p.stages[1]); });
  check_found(gathered, DispatchRule::wrong_order, [](Plan p) { p.setup.restore = ChunkRestore::megatron_seed; });
  check_found(gathered, DispatchRule::rows_not_conserved,
              [](Plan p) { ++std::get<GroupGather>(p.stages[0]).own_rows; });
  check_found(gathered, DispatchRule::wrong_order,
              [](Plan p) { std::get<GroupGather>(p.stages[0]).group = GatherGroup::tp; });
  check_found(gathered, DispatchRule::wrong_order, [](Plan p) {  // expert 0's rows 0 and 1 change places
    auto& rows = last_gather(p);
    std::swap(rows.token_of_row[0], rows.token_of_row[1]);
    rows.rows_of_token[0] = 1;
    rows.rows_of_token[1] = 0;
  });
  auto const flex = flex_example()[0];
  check_found(flex, DispatchRule::index_out_of_range,
              [](Plan p) { std::get<RowExchange>(p.stages[1]).send_rows[3] = -1; });
  check_found(flex, DispatchRule::rows_not_conserved,
              [](Plan p) { ++std::get<RowExchange>(p.stages[1]).send_rows[3]; });
  auto const bins = megablocks_example(ExpertBins::capacity)[0];
  check_found(bins, DispatchRule::shape_mismatch, [](Plan p) { std::get<ShardRepeat>(p.stages[1]).copies = 3; });
  check_found(bins, DispatchRule::wrong_order, [](Plan p) {  // a hole in front of a filled row
    std::swap(last_gather(p).token_of_row[9], last_gather(p).token_of_row[10]);
    last_gather(p).rows_of_token[9] = 10;
  });
  check_found(megablocks_example(ExpertBins::blocks)[0], DispatchRule::shape_mismatch,
              [](Plan p) { p.setup.block_rows = 3; });
}

TEST_CASE("rows that no source sent are found in the group") {
  using Plan = DispatchPlan&;
  check_found_in_group(allgather_example(), 0, DispatchRule::wrong_rows,
                       [](Plan p) { last_gather(p).slot_of_row[3] = 1; });
  check_found_in_group(flex_example(), 0, DispatchRule::wrong_rows, [](Plan p) { last_gather(p).slot_of_row[3] = 1; });
  check_found_in_group(flex_example(), 0, DispatchRule::wrong_rows, [](Plan p) {  // ranks 2 gets t1 before t0
    auto& unique = std::get<RowGather>(p.stages[0]);
    unique.token_of_row = {0, 0, 1, 0, 0, 1};
    unique.rows_of_token = {0, 1, 3, 4, 2, 5};
  });
  check_found_in_group(megablocks_example(ExpertBins::exact), 0, DispatchRule::wrong_rows, [](Plan p) {
    auto& sort = last_gather(p);  // input row 8 goes to expert 1, row 3 to expert 0
    sort.token_of_row = {0, 1, 2, 3, 4, 5, 7, 6, 8, 9};
    sort.rows_of_token = {0, 1, 2, 3, 4, 5, 7, 6, 8, 9};
  });
  check_found_in_group(flex_example(), 1, DispatchRule::pair_mismatch, [](Plan p) {
    auto& exchange = std::get<RowExchange>(p.stages[1]);
    ++exchange.send_rows[0];
    --exchange.send_rows[1];
  });
}

TEST_CASE("JSON keeps every family's plans and refuses damage") {
  for (auto const& plans : examples()) {
    for (auto const& plan : plans) {
      auto const text = io::to_json(plan);
      CHECK(io::dispatch_plan_from_json(text, "t") == plan);
      CHECK(io::to_json(io::dispatch_plan_from_json(text, "t")) == text);
    }
    auto const text = io::to_json(plans[0]);
    auto changed = plans[0];
    changed.row_return.clear();
    if (!plans[0].row_return.empty()) CHECK(changed.fingerprint() != plans[0].fingerprint());
    for (std::size_t length = 0; length < text.size() - 1; length += 53)
      CHECK(error_text(ErrorCode::parse, [&] { return io::dispatch_plan_from_json(text.substr(0, length), "f"); }) !=
            "<no error>");
  }
  auto const refused = [](std::string text, std::string const& from, std::string const& to) {
    text.replace(text.find(from), from.size(), to);
    return error_text(ErrorCode::parse, [&] { return io::dispatch_plan_from_json(text, "f"); });
  };
  auto const bins = io::to_json(megablocks_example(ExpertBins::capacity)[0]);
  CHECK(contains(refused(bins, "\"bins\": \"capacity\"", "\"bins\": \"large\""), "$.setup.bins"));
  CHECK(contains(refused(bins, "\"copies\": 2", "\"copies\": 2, \"x\": 1"), "$.stages[1]"));
  auto const gathered = io::to_json(allgather_example()[0]);
  CHECK(contains(refused(gathered, "world_gather", "moon_gather"), "$.stages[0].stage"));
  CHECK(contains(refused(gathered, "\"tp\": 2", "\"hidden_shards\": 1, \"tp\": 2"), "$.setup"));
}
