// SPDX-License-Identifier: Apache-2.0
// Every routing of a few tokens: at most 3 ranks, 4 experts, 2 choices per token (-1 and repeated experts included),
// the tokens dealt to the ranks in every way, every family. Plans are validated as groups and carried out here on names
// of rows by an interpreter of its own; the names that must arrive come from three nested loops over the routing. Up to
// a smaller number of tokens the executor moves and combines real rows, whose sums come from plain loops.
//
// The normal run goes to 2 tokens in total for plans and 1 for bytes; SWITCHYARD_EXHAUSTIVE=1 to 4 and 3,
// SWITCHYARD_EXHAUSTIVE_TOKENS=N to N and N - 1. SWITCHYARD_SHARD=i/n checks every n-th routing from the i-th on only,
// so that n processes share the work; all of them count them all.
//
// By hand: 2 ranks, 1 expert per rank, one token on rank 0 that chose experts 1 and 0 (slots 0 and 1): rank 0 must hold
// (rank 0, token 0, slot 1), rank 1 (rank 0, token 0, slot 0).
#include <doctest/doctest.h>

#include <cstdlib>
#include <string>
#include <tuple>
#include <vector>

#include "support/dispatch_family_run.hpp"

using namespace switchyard;
using support::Family;
using support::RunCase;

namespace {

/// Tokens in total up to which everything is planned; one less is executed.
int max_tokens() {
  char const* const tokens = std::getenv("SWITCHYARD_EXHAUSTIVE_TOKENS");
  if (tokens != nullptr) return std::atoi(tokens);
  char const* const deep = std::getenv("SWITCHYARD_EXHAUSTIVE");
  return deep != nullptr && std::string(deep) == "1" ? 4 : 2;
}

/// Which of the routings this process checks.
struct Shard {
  std::int64_t index = 0;
  std::int64_t count = 1;
};
Shard shard_from_environment() {
  char const* const text = std::getenv("SWITCHYARD_SHARD");
  if (text == nullptr) return {};
  std::string const shard = text;
  auto const slash = shard.find('/');
  REQUIRE(slash != std::string::npos);
  Shard const result{std::stoll(shard.substr(0, slash)), std::stoll(shard.substr(slash + 1))};
  REQUIRE(result.index >= 0);
  REQUIRE(result.index < result.count);
  return result;
}

/// A row by name; slot -1 where the wire carries one row per token, source -1 in an empty bin.
struct Name {
  int source = -1;
  int token = -1;
  int slot = -1;
  bool operator==(Name const& other) const {
    return std::tie(source, token, slot) == std::tie(other.source, other.token, other.slot);
  }
};
using Names = std::vector<Name>;
using AllNames = std::vector<Names>;  ///< [rank]
using Plans = std::vector<DispatchPlan>;

/// The interpreter: one stage of all ranks at once.
template <typename Stage>
Stage const& part(std::vector<DispatchStage> const& stages, std::size_t i) {
  return std::get<Stage>(stages[i]);
}

Names gathered(RowGather const& gather, Names const& in) {
  Names out;
  for (std::size_t row = 0; row < gather.token_of_row.size(); ++row) {
    auto const input = gather.token_of_row[row];
    out.push_back(input < 0 ? Name{} : in.at(static_cast<std::size_t>(input)));
    if (input >= 0 && !gather.slot_of_row.empty()) out.back().slot = static_cast<int>(gather.slot_of_row[row]);
  }
  return out;
}

Names sorted(ChunkSort const& sort, Names const& in) {
  std::vector<std::size_t> begin{0};
  for (auto const size : sort.sizes) begin.push_back(begin.back() + static_cast<std::size_t>(size));
  Names out;
  for (auto const chunk : sort.order)
    for (std::size_t i = begin[static_cast<std::size_t>(chunk)]; i < begin[static_cast<std::size_t>(chunk) + 1]; ++i)
      out.push_back(in.at(i));
  return out;
}

using PathOf = std::vector<DispatchStage> const& (*)(DispatchPlan const&);

void exchange_names(Plans const& plans, PathOf path, std::size_t i, AllNames& names) {
  AllNames out(names.size());
  for (std::size_t from = 0; from < names.size(); ++from) {
    auto const& rows = part<RowExchange>(path(plans[from]), i).send_rows;
    std::size_t at = 0;
    for (std::size_t to = 0; to < names.size(); ++to)
      for (std::int64_t row = 0; row < rows[to]; ++row) out[to].push_back(names[from].at(at++));
    REQUIRE(at == names[from].size());
  }
  names = out;
}

void gather_names(Plans const& plans, PathOf path, std::size_t i, AllNames& names) {
  AllNames out(names.size());
  int const tp = plans.front().setup.grid.tp;
  for (std::size_t to = 0; to < names.size(); ++to)
    for (std::size_t from = 0; from < names.size(); ++from) {
      bool const world = part<GroupGather>(path(plans[to]), i).group == GatherGroup::world;
      if (!world && static_cast<int>(from) / tp != static_cast<int>(to) / tp) continue;
      out[to].insert(out[to].end(), names[from].begin(), names[from].end());
    }
  names = out;
}

Names repeated(ShardRepeat const& repeat, Names const& in) {
  Names out;
  for (std::int64_t copy = 0; copy < repeat.copies; ++copy) out.insert(out.end(), in.begin(), in.end());
  return out;
}

AllNames carried_out(Plans const& plans, PathOf path, RunCase const& run) {
  AllNames names(plans.size());
  for (std::size_t rank = 0; rank < plans.size(); ++rank)
    for (std::size_t token = 0; token < run.input.routing[rank].size(); ++token)
      names[rank].push_back({static_cast<int>(rank), static_cast<int>(token), -1});
  for (std::size_t i = 0; i < path(plans.front()).size(); ++i) {
    auto const& first = path(plans.front())[i];
    if (std::holds_alternative<RowExchange>(first)) exchange_names(plans, path, i, names);
    if (std::holds_alternative<GroupGather>(first)) gather_names(plans, path, i, names);
    for (std::size_t rank = 0; rank < plans.size(); ++rank) {
      auto const& stages = path(plans[rank]);
      if (i >= stages.size()) continue;  // a rank with one expert may do without the last sort
      if (auto const* gather = std::get_if<RowGather>(&stages[i])) names[rank] = gathered(*gather, names[rank]);
      if (auto const* sort = std::get_if<ChunkSort>(&stages[i])) names[rank] = sorted(*sort, names[rank]);
      if (auto const* repeat = std::get_if<ShardRepeat>(&stages[i])) names[rank] = repeated(*repeat, names[rank]);
    }
  }
  return names;
}

/// What a rank's experts must see: experts, then sources, tokens and slots ascending, and bins filled up.
Names expected_names(RunCase const& run, Family const& family, int rank) {
  bool const megablocks = family.family == DispatchFamily::megablocks;
  int const owner = megablocks ? rank % run.input.ep : rank / run.input.tp;
  std::vector<Names> blocks;
  for (int const expert : run.input.experts_of_ep[static_cast<std::size_t>(owner)]) {
    auto& block = blocks.emplace_back();
    for (std::size_t source = 0; source < run.input.routing.size(); ++source)
      for (std::size_t token = 0; token < run.input.routing[source].size(); ++token)
        for (auto const& choice : run.input.routing[source][token])
          if (choice.expert == expert) block.push_back({static_cast<int>(source), static_cast<int>(token), choice.k});
  }
  std::size_t largest = 0;
  for (auto const& block : blocks) largest = std::max(largest, block.size());
  Names names;
  for (auto& block : blocks) {
    if (family.megablocks.bins == ExpertBins::blocks) block.resize((block.size() + 3) / 4 * 4);
    if (megablocks && family.megablocks.bins == ExpertBins::capacity) block.resize(largest);
    names.insert(names.end(), block.begin(), block.end());
  }
  return names;
}

void check_plans(RunCase const& run, Family const& family) {
  auto const plans = support::plan_group(family, run);
  auto const violations = validate_group(plans);
  if (!violations.empty()) FAIL_CHECK(violations.front().text);
  AllNames const home = carried_out(plans, return_path, run);
  bool const own_way = !plans.front().row_return.empty();
  AllNames const there = own_way ? carried_out(
                                       plans, [](DispatchPlan const& plan) -> auto const& { return plan.stages; }, run)
                                 : home;
  for (std::size_t rank = 0; rank < plans.size(); ++rank) {
    auto const expected = expected_names(run, family, static_cast<int>(rank));
    bool const right = home[rank] == expected && there[rank] == expected;
    if (!right) FAIL_CHECK("rank " << rank << " holds other rows than its experts were chosen for");
  }
}

void check_bytes(RunCase const& run, Family const& family, cpu::Scheduler& scheduler) {
  auto const outputs = support::run_family<float>(family, run, scheduler);
  auto const combined = support::expected_combined<float>(run);
  for (std::size_t rank = 0; rank < outputs.size(); ++rank) {
    std::vector<float> rows;
    for (auto const& name : expected_names(run, family, static_cast<int>(rank)))
      rows.push_back(name.source < 0 ? 0.0F : run.element<float>(name.source, name.token, 0));
    if (outputs[rank].rows != rows) FAIL_CHECK("rank " << rank << ": rows");
    if (outputs[rank].combined != combined[rank]) FAIL_CHECK("rank " << rank << ": combined");
  }
}

/// Balanced blocks: the first experts mod ep ranks hold one more.
std::vector<std::vector<int>> balanced_experts(int ep, int experts) {
  std::vector<std::vector<int>> blocks(static_cast<std::size_t>(ep));
  int next = 0;
  for (int rank = 0; rank < ep; ++rank)
    for (int i = 0; i < experts / ep + (rank < experts % ep ? 1 : 0); ++i)
      blocks[static_cast<std::size_t>(rank)].push_back(next++);
  return blocks;
}

/// Calls visit(run) for every way to deal `tokens` tokens to the ranks of `run` and every choice of each.
template <typename Visit>
void for_all_routings(RunCase run, int tokens, std::size_t rank, Visit const& visit) {
  if (rank == run.input.routing.size()) {
    if (tokens == 0) visit(run);
    return;
  }
  auto& own = run.input.routing[rank];
  own.clear();
  for_all_routings(run, tokens, rank + 1, visit);
  if (tokens == 0) return;
  // One more token on this rank, last in its list; deeper ones follow by recursion on the same rank.
  struct Adder {
    RunCase& run;
    std::size_t rank;
    Visit const& visit;
    void add(int left) const {
      int const per_slot = run.num_experts + 1;
      int const codes = run.top_k == 1 ? per_slot : per_slot * per_slot;
      for (int code = 0; code < codes; ++code) {
        std::vector<oracle::Choice> choices;
        for (int k = 0, rest = code; k < run.top_k; ++k, rest /= per_slot)
          if (rest % per_slot > 0) choices.push_back({rest % per_slot - 1, k});
        run.input.routing[rank].push_back(choices);
        for_all_routings(run, left - 1, rank + 1, visit);
        if (left > 1) add(left - 1);
        run.input.routing[rank].pop_back();
      }
    }
  };
  Adder{run, rank, visit}.add(tokens);
}

/// How many routings there are: ways to deal n tokens to the ranks times (experts + 1)^(K n), added up.
std::int64_t number_of_routings(std::int64_t world, int tokens) {
  std::int64_t sum = 0;
  for (std::int64_t experts = 1; experts <= 4; ++experts)
    for (int top_k = 1; top_k <= 2; ++top_k)
      for (std::int64_t n = 0, choices = 1; n <= tokens; ++n) {
        sum += choices * (world == 1 ? 1 : world == 2 ? n + 1 : (n + 1) * (n + 2) / 2);
        choices *= top_k == 1 ? experts + 1 : (experts + 1) * (experts + 1);
      }
  return sum;
}

/// Every routing on a grid.
void check_grid(int tp, int ep) {
  int const plan_tokens = max_tokens();
  int const byte_tokens = plan_tokens - 1;
  std::int64_t routings = 0;
  std::int64_t executed = 0;
  Shard const shard = shard_from_environment();
  auto const scheduler = cpu::make_cooperative_scheduler();
  auto const families = support::all_families();
  for (int experts = 1; experts <= 4; ++experts)
    for (int top_k = 1; top_k <= 2; ++top_k) {
      RunCase run;
      run.num_experts = experts;
      run.top_k = top_k;
      run.input = {tp, ep, 0, true, balanced_experts(ep, experts), {}};
      run.input.routing.resize(static_cast<std::size_t>(tp * ep));
      for (int tokens = 0; tokens <= plan_tokens; ++tokens)
        for_all_routings(run, tokens, 0, [&](RunCase const& one) {
          executed += tokens <= byte_tokens ? 1 : 0;
          if (routings++ % shard.count != shard.index) return;
          for (auto const& family : families) {
            check_plans(one, family);
            if (tokens <= byte_tokens) check_bytes(one, family, *scheduler);
          }
        });
    }
  MESSAGE("tp " << tp << " x ep " << ep << ": " << routings << " routings planned, " << executed << " executed, by "
                << families.size() << " dispatchers each; shard " << shard.index << " of " << shard.count);
  CHECK(routings == number_of_routings(tp * ep, plan_tokens));
  CHECK(executed == number_of_routings(tp * ep, byte_tokens));
}

}  // namespace

TEST_CASE("the interpreter and the loops, by hand") {
  RunCase run;
  run.num_experts = 2;
  run.top_k = 2;
  run.input = {1, 2, 0, true, balanced_experts(2, 2), {{{{1, 0}, {0, 1}}}, {}}};
  Family const alltoall;
  CHECK(expected_names(run, alltoall, 0) == Names{{0, 0, 1}});
  CHECK(expected_names(run, alltoall, 1) == Names{{0, 0, 0}});
  CHECK(carried_out(support::plan_group(alltoall, run), return_path, run) == AllNames{{{0, 0, 1}}, {{0, 0, 0}}});
  int count = 0;
  for_all_routings(run, 2, 0, [&](RunCase const&) { ++count; });
  CHECK(count == 3 * 81);  // 3 ways to deal two tokens, 9 choices each
}

TEST_CASE("one rank") {
  check_grid(1, 1);
}
TEST_CASE("two ranks over experts") {
  check_grid(1, 2);
}
TEST_CASE("two ranks over one expert's shards") {
  check_grid(2, 1);
}
TEST_CASE("three ranks over experts") {
  check_grid(1, 3);
}
TEST_CASE("three ranks over one expert's shards") {
  check_grid(3, 1);
}
