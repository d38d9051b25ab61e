// SPDX-License-Identifier: Apache-2.0
// Grouped GEMMs on other numbers of SMs: waves, arithmetic, and the floor of an active expert.
//
// Worked example: hidden 256 and intermediate 256 make 4 blocks of columns of fc1 (gate and up) and 2 of fc2 per row
// tile of 64 rows; measured on 8 SMs, where a row tile takes 6 us in full waves, 4 of them fc1's: one wave of fc1 takes
// 4 * 8 / 4 = 8 us, one of fc2 2 * 8 / 2 = 8 us. An expert takes 10 us up to 100 rows and 40 us for 1,000: the best
// rate is 0.04 us per row. Launch 5 us. Experts of 64 and 128 rows have 3 row tiles:
// - 8 SMs: 1.5 waves of fc1, 2 whole ones, and 0.75 of fc2, 1 whole one: 24 us; experts 10 and 10 + 28 / 30 us.
// - 4 SMs: 3 and 1.5 waves, 3 and 2 whole ones: 40 us; 64 rows stay at the floor, 128 rows are 10.24 us of arithmetic
//   where they were 5.12, below the floor: 0.24 us more.
// - 16 SMs: one wave each: 16 us; experts as on 8.
// 1,000 rows are arithmetic alone: 40 us on 8 SMs, 80 on 4.
#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "support/error_text.hpp"
#include "switchyard/sim/cost_file.hpp"
#include "switchyard/sim/grouped_gemm.hpp"
#include "switchyard/sim/validation.hpp"
#include "switchyard/types/error.hpp"

using namespace switchyard;
using namespace switchyard::sim;
using doctest::Approx;

namespace {

GroupedGemmCost worked_example() {
  GroupedGemmCost cost;
  cost.key = {"bf16", 256, 256, 2, 8, 1};
  cost.provenance = {"f.csv", "d", "NVIDIA H200", "1", "median"};
  cost.launch_us = 5;
  cost.tile_rows = 64;
  cost.tile_us = 6;
  cost.sms = 8;
  cost.wave_loss = 1;
  cost.per_expert.knots = {{1, 10}, {100, 10}, {1000, 40}};
  return cost;
}

constexpr std::array<std::int64_t, 3> kRows{64, 0, 128};

/// Balanced samples of `truth`, EP sizes 1 to 16 of 64 experts.
MeasuredGemm samples_of(GroupedGemmCost const& truth) {
  MeasuredGemm measured{truth.key, truth.provenance, {}};
  for (int ep = 1; ep <= 16; ep *= 2)
    for (std::int64_t rows : {1, 2, 4, 8, 16, 32, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 640, 768, 1024}) {
      std::vector<std::int64_t> const equal(static_cast<std::size_t>(64 / ep), rows);
      measured.samples.push_back({ep, 64 / ep, static_cast<double>(rows), rows * 32, grouped_gemm_us(truth, equal)});
    }
  return measured;
}

}  // namespace

TEST_CASE("the worked example: whole waves, arithmetic above the floor") {
  auto cost = worked_example();
  double const experts = 5 + 10 + 10 + 28.0 / 30;
  CHECK(grouped_gemm_us(cost, kRows) == Approx(experts + 24));
  CHECK(grouped_gemm_us(cost, kRows, 0, 8) == Approx(experts + 24));
  CHECK(grouped_gemm_us(cost, kRows, 0, 4) == Approx(experts + 0.24 + 40));
  CHECK(grouped_gemm_us(cost, kRows, 0, 16) == Approx(experts + 16));
  cost.wave_loss = 0.5;  // fc1 1.5 + 0.25 waves, fc2 0.75 + 0.125
  CHECK(grouped_gemm_us(cost, kRows) == Approx(experts + 8 * (1.75 + 0.875)));
  cost.wave_loss = 0;
  CHECK(grouped_gemm_us(cost, kRows) == Approx(experts + 18));
  CHECK(grouped_gemm_us(cost, kRows, 0, 4) == Approx(experts + 0.24 + 36));
  cost.tile_rows = 0;
  constexpr std::array<std::int64_t, 1> many{1000};
  CHECK(grouped_gemm_us(cost, many) == Approx(5 + 40));
  CHECK(grouped_gemm_us(cost, many, 0, 4) == Approx(5 + 80));
  // Two TP ranks share fc1's columns: 2 blocks instead of 4, so 0.75 waves.
  cost = worked_example();
  cost.key.tp = 2;
  CHECK(grouped_gemm_us(cost, kRows) == Approx(experts + 16 + 8));
}

TEST_CASE("fewer SMs never make experts faster, and one whose GPU is not known stays as measured") {
  auto cost = worked_example();
  for (double const loss : {0.0, 0.5, 1.0}) {
    cost.wave_loss = loss;
    for (std::int64_t rows = 1; rows < 3000; rows = rows * 3 / 2 + 1) {
      double slower = 0;
      for (double const sms : {64.0, 9.0, 8.0, 7.0, 3.5, 1.0}) {
        std::array<std::int64_t, 2> const both{rows, 2 * rows};
        double const us = grouped_gemm_us(cost, both, 0, sms);
        CHECK(us >= slower * (1 - 1e-12));
        slower = us;
      }
    }
  }
  cost.sms = 0;
  cost.wave_loss = 0;
  CHECK(grouped_gemm_us(cost, kRows, 0, 4) == grouped_gemm_us(cost, kRows));
  CHECK(support::contains(
      support::error_text(ErrorCode::invalid_argument, [&] { (void)grouped_gemm_us(cost, kRows, 0, -1); }), "SMs"));
  CHECK(sms_of_device("NVIDIA H200") == 132);
  CHECK(sms_of_device("Box GPU") == 0);
}

TEST_CASE("a kernel that loses its last waves is found to, one that does not is not") {
  auto truth = worked_example();
  truth.key = {"bf16", 2048, 2048, 2, 64, 1};
  truth.sms = 132;
  truth.tile_rows = 128;
  truth.tile_us = 3;
  truth.per_expert.knots = {{1, 2}, {64, 2}, {1024, 6}};
  for (double const loss : {0.0, 1.0}) {
    truth.wave_loss = loss;
    auto const measured = samples_of(truth);
    auto const fitted = fit_gemm(measured);
    CAPTURE(fitted.tile_rows);
    CAPTURE(fitted.wave_loss);
    CHECK(fitted.sms == 132);
    if (loss == 0) CHECK(fitted.wave_loss == 0);
    if (loss == 1) CHECK(fitted.wave_loss >= 0.5);
    CHECK(validate_gemm(measured, GemmHeldOut::row_counts).median_error < 0.03);
  }
}

TEST_CASE("cost files keep SMs and wave losses, and those of earlier builds are read without") {
  CostFile costs;
  costs.gemms.push_back(worked_example());
  auto const text = to_json(costs);
  CHECK(cost_file_from_json(text, "costs.json") == costs);
  auto const without = [&](std::string from) {
    auto const cut = [&](char const* member) {
      auto const at = from.find(member);
      REQUIRE(at != std::string::npos);
      from.erase(from.rfind('\n', at), from.find('\n', at) - from.rfind('\n', at));
    };
    cut("\"sms\"");
    cut("\"wave_loss\"");
    return from;
  };
  CHECK(cost_file_from_json(without(text), "costs.json").gemms.front().sms == 0);
  auto bad = text;
  bad.replace(bad.find("\"wave_loss\": 1"), 14, "\"wave_loss\": 2");
  CHECK(support::contains(support::error_text(ErrorCode::parse, [&] { (void)cost_file_from_json(bad, "costs.json"); }),
                          "wave_loss"));
}
