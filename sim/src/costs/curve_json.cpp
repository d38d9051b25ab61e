// SPDX-License-Identifier: Apache-2.0
// Samples of alltoallv as the GPU benchmark writes them: every pattern is a curve over the bytes of a sending rank.
#include "costs/curve_readers.hpp"
#include "switchyard/internal/json_value.hpp"

namespace switchyard::sim {
namespace {

constexpr char const* kSchema = "switchyard.alltoallv_samples/1";
constexpr std::int64_t kMaxBytes = std::int64_t{1} << 50;
constexpr int kMaxRanks = 1 << 20;

/// The times of a case. Its floors, where it has them, are a copy's times and part of no curve.
std::vector<double> samples_of(io::JsonValue const& one) {
  auto samples = one.at("samples_us").double_array();
  auto const floors = one.find("floor_us");
  if (floors && floors->double_array().size() != samples.size()) floors->fail("give one for every sample, or none");
  return samples;
}

/// Exchanges that a host issues one by one and replays of a graph are different things.
std::string system_of(io::JsonValue const& root) {
  auto const issue = root.find("issue");
  if (!issue || issue->as_string() == "host") return "bench";
  if (issue->as_string() != "graph") issue->fail("use host or graph");
  return "bench-graph";
}

}  // namespace

std::vector<MeasuredCurve> read_curve_json(std::string_view text, std::string const& file) {
  io::JsonValue const root = io::JsonDocument::parse(text, file).root();
  root.only_members({"schema", "machine", "provenance", "patterns", "ranks", "issue", "cases"});
  if (root.at("schema").as_string() != kSchema)
    root.at("schema").fail("use samples of schema switchyard.alltoallv_samples/1");
  CostProvenance provenance = provenance_of(text, file);
  provenance.device = root.at("machine").as_string();
  provenance.version = root.at("provenance").as_string();
  provenance.statistic = "every sample: the largest time of any rank";
  if (provenance.device.empty()) root.at("machine").fail("data of unknown origin is not fitted");
  if (provenance.version.empty()) root.at("provenance").fail("data of unknown origin is not fitted");
  int const ranks = static_cast<int>(root.at("ranks").as_int(1, kMaxRanks));
  std::string const system = system_of(root);
  std::vector<MeasuredCurve> curves;
  io::JsonValue const cases = root.at("cases");
  for (std::size_t i = 0; i < cases.array_size(); ++i) {
    io::JsonValue const one = cases.at(i);
    one.only_members({"pattern", "total_bytes", "samples_us", "floor_us"});
    CurveKey const key{"alltoallv", system, ranks, one.at("pattern").as_string(), SizeUnit::bytes_per_rank};
    auto& samples = curve_of(curves, key, provenance).samples;
    auto const size = static_cast<double>(one.at("total_bytes").as_int(0, kMaxBytes));
    for (double const us : samples_of(one)) samples.push_back({size, us});
  }
  return curves;
}

}  // namespace switchyard::sim
