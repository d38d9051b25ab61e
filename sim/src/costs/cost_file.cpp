// SPDX-License-Identifier: Apache-2.0
// CostFile as JSON: strict in, byte-stable out (docs/simulator.md).
#include "switchyard/sim/cost_file.hpp"

#include <limits>
#include <nlohmann/json.hpp>

#include "switchyard/internal/json_value.hpp"

namespace switchyard::sim {
namespace {

using Json = nlohmann::ordered_json;

constexpr char const* kFormat = "switchyard-costs";
constexpr std::int64_t kMaxCount = std::int64_t{1} << 40;
constexpr int kMaxInt = std::numeric_limits<int>::max();

Json json_of(CostProvenance const& provenance) {
  return {{"file", provenance.file},
          {"digest", provenance.digest},
          {"device", provenance.device},
          {"version", provenance.version},
          {"statistic", provenance.statistic}};
}

CostProvenance read_provenance(io::JsonValue const& value) {
  value.only_members({"file", "digest", "device", "version", "statistic"});
  CostProvenance provenance{value.at("file").as_string(), value.at("digest").as_string(),
                            value.at("device").as_string(), value.at("version").as_string(),
                            value.at("statistic").as_string()};
  require_valid(provenance);
  return provenance;
}

Json json_of(CostCurve const& curve) {
  Json knots = Json::array();
  for (Measurement const& knot : curve.knots) knots.push_back({knot.size, knot.us});
  return knots;
}

CostCurve read_curve(io::JsonValue const& value) {
  CostCurve curve;
  for (std::size_t i = 0; i < value.array_size(); ++i) {
    auto const pair = value.at(i).double_array();
    if (pair.size() != 2) value.at(i).fail("a knot is [size, us]");
    curve.knots.push_back({pair[0], pair[1]});
  }
  require_valid(curve);
  return curve;
}

char const* name_of(RejectReason reason) {
  return reason == RejectReason::too_slow ? "too_slow" : "too_fast";
}

Json json_of(FittedCurve const& curve) {
  Json rejected = Json::array();
  for (Rejected const& one : curve.fit.rejected)
    rejected.push_back({{"size", one.sample.size}, {"us", one.sample.us}, {"reason", name_of(one.reason)}});
  return {{"operation", curve.key.operation},
          {"system", curve.key.system},
          {"ranks", curve.key.ranks},
          {"variant", curve.key.variant},
          {"size_unit", to_string(curve.key.unit)},
          {"provenance", json_of(curve.provenance)},
          {"samples", curve.samples},
          {"rejected", rejected},
          {"knots_size_us", json_of(curve.fit.curve)}};
}

SizeUnit read_unit(io::JsonValue const& value) {
  std::string const text = value.as_string();
  for (auto const unit : {SizeUnit::bytes_per_rank, SizeUnit::tokens_per_rank, SizeUnit::bytes_moved})
    if (text == to_string(unit)) return unit;
  value.fail("use \"bytes_per_rank\", \"tokens_per_rank\" or \"bytes_moved\"");
}

std::vector<Rejected> read_rejected(io::JsonValue const& value) {
  std::vector<Rejected> rejected;
  for (std::size_t i = 0; i < value.array_size(); ++i) {
    io::JsonValue const one = value.at(i);
    one.only_members({"size", "us", "reason"});
    std::string const reason = one.at("reason").as_string();
    if (reason != "too_slow" && reason != "too_fast") one.at("reason").fail("use \"too_slow\" or \"too_fast\"");
    rejected.push_back({{one.at("size").as_double(), one.at("us").as_double()},
                        reason == "too_slow" ? RejectReason::too_slow : RejectReason::too_fast});
  }
  return rejected;
}

FittedCurve read_fitted(io::JsonValue const& value) {
  value.only_members(
      {"operation", "system", "ranks", "variant", "size_unit", "provenance", "samples", "rejected", "knots_size_us"});
  FittedCurve curve;
  curve.key = {value.at("operation").as_string(), value.at("system").as_string(),
               static_cast<int>(value.at("ranks").as_int(0, kMaxInt)), value.at("variant").as_string(),
               read_unit(value.at("size_unit"))};
  curve.provenance = read_provenance(value.at("provenance"));
  curve.samples = static_cast<int>(value.at("samples").as_int(1, kMaxInt));
  curve.fit.rejected = read_rejected(value.at("rejected"));
  curve.fit.curve = read_curve(value.at("knots_size_us"));
  return curve;
}

Json json_of(GroupedGemmCost const& gemm) {
  return {{"dtype", gemm.key.dtype},
          {"hidden", gemm.key.hidden},
          {"intermediate", gemm.key.intermediate},
          {"topk", gemm.key.topk},
          {"experts", gemm.key.experts},
          {"tp", gemm.key.tp},
          {"provenance", json_of(gemm.provenance)},
          {"launch_us", gemm.launch_us},
          {"token_us", gemm.token_us},
          {"tile_rows", gemm.tile_rows},
          {"tile_us", gemm.tile_us},
          {"sms", gemm.sms},
          {"wave_loss", gemm.wave_loss},
          {"knots_rows_us_per_expert", json_of(gemm.per_expert)}};
}

double read_time(io::JsonValue const& value) {
  double const us = value.as_double();
  if (us < 0) value.fail("it must not be negative");
  return us;
}

GroupedGemmCost read_gemm(io::JsonValue const& value) {
  value.only_members({"dtype", "hidden", "intermediate", "topk", "experts", "tp", "provenance", "launch_us", "token_us",
                      "tile_rows", "tile_us", "sms", "wave_loss", "knots_rows_us_per_expert"});
  GroupedGemmCost gemm;
  gemm.key.dtype = value.at("dtype").as_string();
  gemm.key.hidden = value.at("hidden").as_int(1, kMaxCount);
  gemm.key.intermediate = value.at("intermediate").as_int(1, kMaxCount);
  gemm.key.topk = static_cast<int>(value.at("topk").as_int(1, kMaxInt));
  gemm.key.experts = static_cast<int>(value.at("experts").as_int(1, kMaxInt));
  gemm.key.tp = static_cast<int>(value.at("tp").as_int(1, kMaxInt));
  gemm.provenance = read_provenance(value.at("provenance"));
  gemm.launch_us = read_time(value.at("launch_us"));
  gemm.token_us = read_time(value.at("token_us"));
  gemm.tile_rows = static_cast<int>(value.at("tile_rows").as_int(0, kMaxInt));
  gemm.tile_us = read_time(value.at("tile_us"));
  gemm.per_expert = read_curve(value.at("knots_rows_us_per_expert"));
  // Files of earlier builds have neither: no other GPU is predicted from them, and their last waves are not rounded.
  if (auto const sms = value.find("sms")) gemm.sms = read_time(*sms);
  if (auto const loss = value.find("wave_loss")) gemm.wave_loss = read_time(*loss);
  if (gemm.wave_loss > 1) value.at("wave_loss").fail("a last wave loses at most all of its idle SMs: 0 to 1");
  return gemm;
}

}  // namespace

FittedCurve fit(MeasuredCurve const& measured) {
  require_valid(measured.provenance);
  return {measured.key, measured.provenance, static_cast<int>(measured.samples.size()), fit_curve(measured.samples)};
}

std::string to_json(CostFile const& costs) {
  Json json{{"format", kFormat}, {"schema_version", CostFile::kSchemaVersion}};
  json["curves"] = Json::array();
  for (FittedCurve const& curve : costs.curves) json["curves"].push_back(json_of(curve));
  json["grouped_gemms"] = Json::array();
  for (GroupedGemmCost const& gemm : costs.gemms) json["grouped_gemms"].push_back(json_of(gemm));
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

CostFile cost_file_from_json(std::string_view text, std::string const& source_name) {
  io::JsonValue const root = io::JsonDocument::parse(text, source_name).root();
  root.only_members({"format", "schema_version", "curves", "grouped_gemms"});
  if (root.at("format").as_string() != kFormat) root.at("format").fail("a cost file says \"switchyard-costs\"");
  if (root.at("schema_version").as_int(0, kMaxInt) != CostFile::kSchemaVersion)
    root.at("schema_version").fail("this version reads schema_version 2: calibrate again");
  CostFile costs;
  for (std::size_t i = 0; i < root.at("curves").array_size(); ++i)
    costs.curves.push_back(read_fitted(root.at("curves").at(i)));
  for (std::size_t i = 0; i < root.at("grouped_gemms").array_size(); ++i)
    costs.gemms.push_back(read_gemm(root.at("grouped_gemms").at(i)));
  return costs;
}

}  // namespace switchyard::sim
