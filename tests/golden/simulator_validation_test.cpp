// SPDX-License-Identifier: Apache-2.0
// The published validation of skewed exchanges (docs/validation.md) against the fixtures it was made of: every line of
// its tables is computed anew. A gate that is claimed kept and is not fails here, and so does one that is claimed
// missed and is kept: then the page must say so.
//
// Worked example: the line "| alltoallv bench x2 zipf | 25 | 0 | 3.1 | 7.0 | ... | yes |" holds when that curve has 25
// sizes without rejects and its errors, in percent, are within half a unit of the figures.
#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <map>
#include <sstream>

#include "switchyard/sim/validation.hpp"

using namespace switchyard::sim;

namespace {

std::string text_of(std::string const& path) {
  std::ifstream file(path);
  REQUIRE_MESSAGE(file.good(), path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

std::vector<MeasuredCurve> fixtures() {
  std::vector<MeasuredCurve> all;
  for (std::string const name : {SWITCHYARD_ALLTOALLV_FIXTURES}) {
    std::string const path = std::string(SWITCHYARD_SOURCE_FOLDER) + "/tests/support/fixtures/" + name;
    auto const curves = read_measured_curves(text_of(path), path);
    all.insert(all.end(), curves.begin(), curves.end());
  }
  return all;
}

/// Cells of the lines of tables whose first cell begins with `prefix`, by first cell.
std::map<std::string, std::vector<std::string>> published(std::string const& prefix) {
  std::map<std::string, std::vector<std::string>> rows;
  std::istringstream page(text_of(std::string(SWITCHYARD_SOURCE_FOLDER) + "/docs/validation.md"));
  for (std::string line; std::getline(page, line);) {
    if (line.rfind("| " + prefix, 0) != 0) continue;
    std::vector<std::string> cells;
    std::istringstream words(line.substr(2));
    for (std::string cell; std::getline(words, cell, '|');) {
      auto const begin = cell.find_first_not_of(' ');
      if (begin != std::string::npos) cells.push_back(cell.substr(begin, cell.find_last_not_of(' ') - begin + 1));
    }
    rows[cells.at(0)] = cells;
  }
  return rows;
}

void check_percent(std::string const& cell, double fraction) {
  constexpr double kHalfUnit = 0.051;  // one digit behind the point, and what a last bit may turn
  CHECK_MESSAGE(std::abs(std::strtod(cell.c_str(), nullptr) - fraction * 100) <= kHalfUnit,
                "published " << cell << " %, computed " << fraction * 100 << " %");
}

}  // namespace

TEST_CASE("the published tables are what the fixtures give, kept gates and missed ones") {
  auto const validation = validate(fixtures(), {});
  auto rows = published("alltoallv bench");
  CHECK(rows.size() == validation.curves.size());
  for (CurveValidation const& curve : validation.curves) {
    INFO(curve.name);
    auto const& cells = rows[curve.name];
    REQUIRE(cells.size() == 9);
    CHECK(cells[1] == std::to_string(curve.points.size()));
    CHECK(cells[2] == std::to_string(curve.rejected.size()));
    check_percent(cells[3], curve.median_error);
    check_percent(cells[4], curve.p90_error);
    check_percent(cells[5], curve.max_error);
    check_percent(cells[6], curve.spread);
    CHECK(cells[7] == (curve.skewed ? "15/30" : "10/20"));
    CHECK(cells[8] == (curve.within_gates ? "yes" : "NO"));
  }
  auto const verdicts = published("`alltoallv`: patterns");
  REQUIRE(verdicts.size() == 1);
  REQUIRE(validation.verdicts.size() == 1);
  VerdictAgreement const& verdict = validation.verdicts[0];
  auto const& cells = verdicts.begin()->second;
  REQUIRE(cells.size() == 5);
  CHECK(cells[1] == std::to_string(verdict.agreed));
  CHECK(cells[2] == std::to_string(verdict.compared));
  CHECK(cells[4] == (within_gate(verdict) ? "kept" : "NOT kept"));
}
