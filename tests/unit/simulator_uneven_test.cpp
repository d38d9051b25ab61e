// SPDX-License-Identifier: Apache-2.0
// Uneven all-to-alls predicted from even ones, as validation does it.
//
// Worked example: two ranks exchange B bytes each, half of them with the other rank, in 10 us + 20 us per MB that
// leaves; beside copies to themselves it takes 0.5 us more per MB copied. At B = 64 MB "half_silent" is one message of
// 32 MB after a copy of 32 MB: 16 + 10 + 640 = 666 us. "one_hot" is one message of 64 MB to a rank that copies as much
// beside it: 10 + 1,280 us. A host that takes 60 us to issue an exchange and 70 with a copy hides less than that.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <string>

#include "switchyard/sim/validation.hpp"
#include "switchyard/types/error.hpp"

using namespace switchyard::sim;
using doctest::Approx;

namespace {

constexpr double kUsPerMb = 20, kCopyUsPerMb = 0.5;

double even_us(std::string const& pattern, double mb) {
  if (pattern == "own") return 1 + mb / 2 * 0.8;
  return 10 + mb / 2 * (kUsPerMb + (pattern == "uniform" ? kCopyUsPerMb : 0));
}

/// @param uneven_us of every uneven sample: predictions must not depend on it.
std::string fixture(bool host, double uneven_us) {
  std::string text = R"({"schema": "switchyard.alltoallv_samples/1", "machine": "2 x Box GPU, other text",
    "provenance": "by hand", "patterns": {}, "ranks": 2, "issue": ")" +
                     std::string(host ? "host" : "graph") + "\", \"cases\": [";
  for (int mb = 1; mb <= 64; mb *= 2)
    for (std::string const pattern : {"uniform", "peers", "own", "one_hot", "one_direction", "half_silent"}) {
      bool const even = pattern == "uniform" || pattern == "peers" || pattern == "own";
      double us = even ? even_us(pattern, mb) : uneven_us;
      if (host && even && pattern != "own") us = std::max(us, pattern == "uniform" ? 70.0 : 60.0);
      text += std::string(text.back() == '}' ? "," : "") + "{\"pattern\": \"" + pattern +
              "\", \"total_bytes\": " + std::to_string(mb) + "000000, \"samples_us\": [" + std::to_string(us) + "]}";
    }
  return text + "]}";
}

/// predicted[curve][MB]
std::map<std::string, std::map<int, double>> predictions(double uneven_us) {
  std::vector<MeasuredCurve> curves;
  for (bool const host : {false, true})
    for (auto const& curve : read_measured_curves(fixture(host, uneven_us), host ? "host.json" : "graph.json"))
      curves.push_back(curve);
  std::map<std::string, std::map<int, double>> predicted;
  for (CurveValidation const& curve : validate_skewed(curves))
    for (Prediction const& point : curve.points)
      predicted[curve.name][static_cast<int>(point.size / 1e6)] = point.predicted_us;
  return predicted;
}

}  // namespace

TEST_CASE("the worked example: copies hold sends up, receives go on, hosts hide what is shorter") {
  auto predicted = predictions(100);
  CHECK(predicted.size() == 6);
  auto& graph = predicted["alltoallv bench-graph x2 half_silent"];
  CHECK(graph[64] == Approx(666));
  CHECK(graph[1] == Approx(10 + 10 + 0.25));
  CHECK(predicted["alltoallv bench-graph x2 one_hot"][64] == Approx(1290));
  CHECK(predicted["alltoallv bench-graph x2 one_direction"][64] == Approx(1290));
  auto& host = predicted["alltoallv bench x2 half_silent"];
  CHECK(host[1] == Approx(70));
  CHECK(host[64] == Approx(666));
  CHECK(predicted["alltoallv bench x2 one_direction"][1] == Approx(60));
  CHECK(predicted["alltoallv bench x2 one_hot"][1] == Approx(70));
}

TEST_CASE("what uneven exchanges were measured to take does not enter their predictions") {
  CHECK(predictions(100) == predictions(100000));
}

TEST_CASE("even traffic and its parts are held out, uneven traffic is not fitted") {
  auto const curves = read_measured_curves(fixture(false, 100), "graph.json");
  auto const all = validate(curves, {});
  int even = 0;
  for (CurveValidation const& curve : all.curves) even += curve.skewed ? 0 : 1;
  CHECK(even == 3);
  CHECK(all.curves.size() == 6);
  CHECK(is_uniform_part(curves.at(0).key));
  CHECK_FALSE(is_uniform_part(curves.at(3).key));
}

TEST_CASE("own measurements of exchanges time plans where there are none of nccl-tests") {
  CostFile costs;
  for (bool const host : {false, true})
    for (auto const& curve : read_measured_curves(fixture(host, 100), "own.json")) costs.curves.push_back(fit(curve));
  auto const chosen = alltoall_curves(costs, "bench-graph");
  REQUIRE(chosen.size() == 1);
  CHECK(chosen[0].key.variant == "peers");
  CHECK_THROWS_AS((void)alltoall_curves(costs, ""), switchyard::Error);  // of a host or of a graph
  FittedCurve other = chosen[0];
  other.key = {"alltoall", "box", 2, "", SizeUnit::bytes_per_rank};
  costs.curves.push_back(other);
  CHECK(alltoall_curves(costs, "") == std::vector<FittedCurve>{other});
}
