// SPDX-License-Identifier: Apache-2.0
// The CPU executor against the oracle: dispatched rows in the oracle's order, combined values bit for bit, on random
// rows with wide exponents for which the test first shows that another order of additions gives other bits. Then what
// must not change a bit: placement, worker count, scheduler and its seed, instruction set.
#include <doctest/doctest.h>

#include <cstring>
#include <memory>
#include <type_traits>
#include <vector>

#include "support/dispatch_run.hpp"
#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/parallel_for.hpp"

using namespace switchyard;
using support::RunCase;

namespace {

template <typename T>
bool same_bits(std::vector<T> const& a, std::vector<T> const& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

template <typename T>
bool same_bits(std::vector<support::RankOutput<T>> const& a, std::vector<support::RankOutput<T>> const& b) {
  bool same = a.size() == b.size();
  for (std::size_t i = 0; same && i < a.size(); ++i) same = same_bits(a[i].combined, b[i].combined);
  return same;
}

template <typename T>
std::vector<T> expected_rows(RunCase const& run, oracle::RankLists const& lists) {
  std::vector<T> rows;
  for (auto const& row : lists.sorted)
    for (std::int64_t column = 0; column < run.hidden; ++column)
      rows.push_back(run.element<T>(row.source, row.token, column));
  return rows;
}

template <typename T>
void check_run(RunCase const& run) {
  auto const scheduler = cpu::make_cooperative_scheduler(run.seed);
  auto const outputs = support::run_all<T>(run, *scheduler);
  auto const expected = support::expected_combined<T>(run);
  oracle::DispatchOracle const truth(run.input);
  for (std::size_t rank = 0; rank < outputs.size(); ++rank) {
    CAPTURE(rank);
    CHECK(same_bits(outputs[rank].rows, expected_rows<T>(run, truth.ranks()[rank])));
    CHECK(same_bits(outputs[rank].combined, expected[rank]));
  }
}

RunCase random_run(std::uint64_t seed) {
  support::Random random(seed);
  RunCase run;
  run.seed = seed;
  run.num_experts = 1 + support::draw(random, 6);
  run.top_k = 1 + support::draw(random, 4);
  std::int64_t const widths[] = {1, 3, 8, 33, 515};
  run.hidden = widths[support::draw(random, 5)];
  support::draw_input(random, run, 4, 7);
  return run;
}

/// Eight choices per token on eight ranks: enough terms for the order to show in every dtype.
RunCase busy_run(int tp) {
  support::Random random(7);
  RunCase run;
  run.num_experts = 16;
  run.top_k = 8;
  run.hidden = 129;
  run.input.tp = tp;
  run.input.ep = 8 / tp;
  run.input.experts_of_ep = support::contiguous_experts(run.input.ep, 16 / run.input.ep);
  for (int rank = 0; rank < 8; ++rank)
    run.input.routing.push_back(support::random_tokens(random, 9, 16, 8, false, false));
  return run;
}

template <typename T>
std::int64_t differing_elements(std::vector<std::vector<T>> const& a, std::vector<std::vector<T>> const& b) {
  std::int64_t differing = 0;
  for (std::size_t rank = 0; rank < a.size(); ++rank)
    for (std::size_t i = 0; i < a[rank].size(); ++i)
      if (std::memcmp(&a[rank][i], &b[rank][i], sizeof(T)) != 0) ++differing;
  return differing;
}

/// The placements of busy_run's experts that must all give the same combined bits.
std::vector<std::vector<std::vector<int>>> placements_on(int ep) {
  std::vector<std::vector<std::vector<int>>> all{support::contiguous_experts(ep, 16 / ep)};
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    support::Random random(seed);
    all.push_back(support::random_experts(random, ep, 16));
  }
  return all;
}

}  // namespace

TEST_CASE_TEMPLATE("random grids and placements equal the oracle", T, float, bf16_t, f16_t) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    CAPTURE(seed);
    check_run<T>(random_run(seed));
  }
}

TEST_CASE_TEMPLATE("the order of additions matters, and is kept", T, float, bf16_t, f16_t) {
  for (int const tp : {1, 2}) {
    auto run = busy_run(tp);
    // f16 has neither the range for scales this far apart nor the need: its 11 bits show the order as it is.
    run.cancelling = !std::is_same_v<T, f16_t>;
    run.scale_spread = run.cancelling ? 14 : 6;
    auto const differing =
        differing_elements(support::expected_combined<T>(run), support::expected_combined<T>(run, true));
    CAPTURE(differing);
    REQUIRE(differing > 0);
    check_run<T>(run);
  }
}

TEST_CASE_TEMPLATE("a placement never changes combined bits", T, float, bf16_t) {
  for (int const tp : {1, 2}) {
    auto run = busy_run(tp);
    auto const expected = support::expected_combined<T>(run);
    for (auto const& experts : placements_on(run.input.ep)) {
      run.input.experts_of_ep = experts;
      auto const scheduler = cpu::make_cooperative_scheduler();
      auto const outputs = support::run_all<T>(run, *scheduler);
      for (std::size_t rank = 0; rank < outputs.size(); ++rank)
        CHECK(same_bits(outputs[rank].combined, expected[rank]));
    }
  }
}

TEST_CASE("workers, schedulers and instruction sets never change bits") {
  auto const run = busy_run(2);
  auto const bulk = cpu::make_cooperative_scheduler();
  auto const reference = support::run_all<bf16_t>(run, *bulk);
  for (int const workers : {1, 2, 7}) {
    cpu::set_worker_count(workers);
    for (std::uint64_t seed = 0; seed < 4; ++seed) {
      auto const scheduler = seed == 3 ? cpu::make_thread_scheduler() : cpu::make_cooperative_scheduler(seed);
      CAPTURE(workers);
      CAPTURE(seed);
      CHECK(same_bits(support::run_all<bf16_t>(run, *scheduler), reference));
    }
  }
  cpu::set_worker_count(0);
  for (auto const set : cpu::available_instruction_sets()) {
    auto const name = std::string(to_string(set));
    CAPTURE(name);
    cpu::force_instruction_set(set);
    CHECK(cpu::active_instruction_set() == set);
    auto const scheduler = cpu::make_cooperative_scheduler();
    CHECK(same_bits(support::run_all<bf16_t>(run, *scheduler), reference));
    check_run<float>(run);
    check_run<f16_t>(run);
  }
  cpu::force_instruction_set(std::nullopt);
  MESSAGE("instruction sets compared: " << cpu::available_instruction_sets().size());
}
