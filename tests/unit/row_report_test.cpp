// SPDX-License-Identifier: Apache-2.0
// What the programs that compare backends say of a difference: rank, expert, row, source rank, token, element and both
// bit patterns (tests/cross_backend/row_report.hpp). These reports cannot be seen where all is equal, so they are
// provoked here, on the CPU.
//
// By hand: rank 0 holds experts 2 and 0, rank 1 experts 1 and 2. Rank 0's only token chose 2 and 1; rank 1's tokens
// chose 0, and then 2 and 0. Token t of rank r goes to the replica (t + r) mod 2 of expert 2, so rank 0 sees: expert 2:
// rank 0's token 0 and rank 1's token 1; expert 0: rank 1's tokens 0 and 1.
#include <doctest/doctest.h>

#include <cmath>
#include <string>
#include <vector>

#include "cross_backend/executor_rows.hpp"
#include "support/dispatch_family_run.hpp"
#include "switchyard/cpu/rank_group.hpp"

using namespace switchyard;
using cross_backend::compare_bits;
using cross_backend::difference_text;
using cross_backend::PairReport;
using cross_backend::RowNames;

namespace {

support::RunCase example() {
  support::RunCase run;
  run.num_experts = 3;
  run.top_k = 2;
  run.input = {1, 2, 0, true, {{2, 0}, {1, 2}}, {{{{2, 0}, {1, 1}}}, {{{0, 0}}, {{2, 0}, {0, 1}}}}};
  return run;
}

/// What a report says when the element `broken` of rank 0's expert rows has another lowest bit.
std::string text_of(support::Family const& family, support::RunCase const& run, std::size_t broken) {
  std::string text;
  cpu::run_ranks(*cpu::make_cooperative_scheduler(1), run.input.ep, {}, [&](Communicator& comm) {
    auto const plan = support::plan_of(family, run, comm);
    auto const placement = support::placement_of(run.input, run.num_experts);
    cpu::CpuExecutor executor(comm);
    cross_backend::ExpertRowNames const names(executor, plan, &placement);
    if (comm.rank().value() != 0) return;
    std::vector<bf16_t> const cpu(static_cast<std::size_t>(4 * plan.num_expert_rows()), to_bf16(1.0F));
    auto gpu = cpu;
    gpu.at(broken).bits ^= 1;
    PairReport report(nullptr);
    compare_bits(report, "case", names.rows(4), cpu, gpu);
    CHECK(report.failures() == 1);
    text = report.first_failure();
  });
  return text;
}

template <typename T>
std::string text_of(RowNames names, std::vector<T> const& cpu, std::vector<T> const& gpu) {
  names.element_bytes = sizeof(T);
  return difference_text(names, std::as_bytes(std::span(cpu)), std::as_bytes(std::span(gpu)));
}

}  // namespace

TEST_CASE("a row of an expert is named by its expert, its source and its token") {
  auto const families = support::all_families();
  CHECK(text_of(families[0], example(), 3) ==
        "case: first at rank 0, expert 2, row 0 (token 0 of rank 0), element 3: CPU 0x3f80 GPU 0x3f81; 1 of 16 differ");
  CHECK(text_of(families[0], example(), 6) ==
        "case: first at rank 0, expert 2, row 1 (token 1 of rank 1), element 2: CPU 0x3f80 GPU 0x3f81; 1 of 16 differ");
  CHECK(text_of(families[0], example(), 8) ==
        "case: first at rank 0, expert 0, row 0 (token 0 of rank 1), element 0: CPU 0x3f80 GPU 0x3f81; 1 of 16 differ");
  for (auto const& family : families) {
    CAPTURE(family.name);
    CHECK(text_of(family, example(), 0).find("rank 0, expert 2, row 0 (token 0 of rank 0), element 0") !=
          std::string::npos);
  }
}

TEST_CASE("an empty row of a bin is called so") {
  auto const blocks = support::megablocks(ExpertBins::blocks, 0, 4, "blocks");
  CHECK(text_of(blocks, example(), 4 * 3 + 1) ==
        "case: first at rank 0, expert 2, row 3 (an empty row), element 1: CPU 0x3f80 GPU 0x3f81; 1 of 32 differ");
}

TEST_CASE("rows without experts are tokens, and bits are what counts") {
  RowNames const tokens{5, 2};
  CHECK(text_of<float>(tokens, {1, 2, 3}, {1, 2, 3}).empty());
  CHECK(text_of<float>(tokens, {1, 2, 0.0F, 4}, {1, 2, -0.0F, 5}) ==
        "first at rank 5, token 1, element 0: CPU 0x00000000 GPU 0x80000000; 2 of 4 differ");
  float const nan = std::nanf("");
  CHECK(text_of<float>(tokens, {nan}, {nan}).empty());
  CHECK(text_of<double>(tokens, {1}, {2}) ==
        "first at rank 5, token 0, element 0: CPU 0x3ff0000000000000 GPU 0x4000000000000000; 1 of 1 differ");
  CHECK(text_of<float>({1, 0}, {}, {}).empty());
}

TEST_CASE("results of other sizes are a difference, and blocks without names have numbers") {
  CHECK(text_of<float>({3, 1}, {1, 2}, {1}) == "rank 3 has 8 bytes on the CPU, 4 on the GPU");
  std::vector<RowBlock> const blocks{{0, 1}, {4, 2}};
  RowNames names{0, 1, 4, blocks};
  CHECK(text_of<float>(names, std::vector<float>(6), {0, 0, 0, 0, 0, 1}) ==
        "first at rank 0, expert 1, row 1, element 0: CPU 0x00000000 GPU 0x3f800000; 1 of 6 differ");
  CHECK(text_of<float>(names, std::vector<float>(6), {0, 0, 1, 0, 0, 1}) ==
        "first at rank 0, outside all blocks, row 2, element 0: CPU 0x00000000 GPU 0x3f800000; 2 of 6 differ");
}

TEST_CASE("a report counts what all ranks compared") {
  PairReport report(nullptr);
  std::vector<float> const rows(6, 1.0F);
  compare_bits(report, "equal", 0, 3, rows, rows);
  CHECK(report.failures() == 0);
  compare_bits(report, "not equal", 1, 3, rows, {1, 1, 1, 1, 2, 1});
  CHECK(report.failures() == 1);
  CHECK(report.comparisons() == 2);
  CHECK(report.values() == 12);
  CHECK(report.first_failure() ==
        "not equal: first at rank 1, token 1, element 1: CPU 0x3f800000 GPU 0x40000000; 1 of 6 differ");
}
