// SPDX-License-Identifier: Apache-2.0
#include "commands/simulate_validation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/table.hpp"
#include "switchyard/io/file.hpp"

namespace switchyard::cli {
namespace {

std::string percent(double fraction) {
  return fmt::format("{:.1f}", fraction * 100);
}

char const* name_of(sim::RejectReason reason) {
  return reason == sim::RejectReason::too_slow ? "too slow" : "too fast";
}

std::string rejects_of(sim::Validation const& report) {
  std::string text;
  for (auto const& curve : report.curves)
    for (auto const& one : curve.rejected)
      text += fmt::format("  {}: {:.2f} us at {:.0f}, {}\n", curve.name, one.sample.us, one.sample.size,
                          name_of(one.reason));
  return text.empty() ? "rejected samples: none\n" : "rejected samples\n" + text;
}

std::string verdict_line(sim::VerdictAgreement const& verdict) {
  std::string const text = "which of two is faster, " + verdict.kind + ": ";
  if (verdict.compared == 0) return text + "no two times differ by more than twice the spread\n";
  std::string const pairs = fmt::format("right in {} of {} pairs ({} %)", verdict.agreed, verdict.compared,
                                        percent(static_cast<double>(verdict.agreed) / verdict.compared));
  if (!verdict.spread_known)
    return text + pairs + " whose times differ at all; their spread is not known, so there is no gate\n";
  return text + pairs +
         fmt::format(
             " whose times differ by more than twice the spread, gate {:.0f} % {}; noise would let a perfect "
             "model be right in {:.1f}\n",
             sim::kVerdictGate * 100, within_gate(verdict) ? "kept" : "NOT kept", verdict.noise_bound);
}

std::string to_table(sim::Validation const& report) {
  TextTable table({"curve", "points", "rejected", "median %", "p90 %", "max %", "spread %", "gates %", "kept"});
  std::int64_t kept = 0;
  for (auto const& curve : report.curves) {
    auto const gates = curve.skewed ? sim::kSkewedGates : sim::kUniformGates;
    kept += curve.within_gates ? 1 : 0;
    table.add_row({curve.name, fmt::format("{}", curve.points.size()), fmt::format("{}", curve.rejected.size()),
                   percent(curve.median_error), percent(curve.p90_error), percent(curve.max_error),
                   percent(curve.spread), fmt::format("{:.0f}/{:.0f}", gates.median * 100, gates.p90 * 100),
                   curve.within_gates ? "yes" : "NO"});
  }
  std::string text = table.str() + fmt::format("{} of {} curves keep their gates\n", kept, report.curves.size());
  for (auto const& verdict : report.verdicts) text += verdict_line(verdict);
  for (auto const& name : report.too_short) text += fmt::format("{}: fewer than three sizes, none held out\n", name);
  return text + rejects_of(report);
}

nlohmann::ordered_json json_of(sim::CurveValidation const& curve) {
  nlohmann::ordered_json points = nlohmann::ordered_json::array(), rejected = points;
  for (auto const& point : curve.points)
    points.push_back({{"size", point.size},
                      {"measured_us", point.measured_us},
                      {"predicted_us", point.predicted_us},
                      {"spread", point.spread}});
  for (auto const& one : curve.rejected)
    rejected.push_back({{"size", one.sample.size}, {"us", one.sample.us}, {"reason", name_of(one.reason)}});
  return {{"curve", curve.name},
          {"skewed", curve.skewed},
          {"median_error", curve.median_error},
          {"p90_error", curve.p90_error},
          {"max_error", curve.max_error},
          {"spread", curve.spread},
          {"points", points},
          {"within_gates", curve.within_gates},
          {"rejected", rejected}};
}

std::string to_json(sim::Validation const& report) {
  nlohmann::ordered_json root{{"schema_version", 1}};
  root["curves"] = nlohmann::ordered_json::array();
  for (auto const& curve : report.curves) root["curves"].push_back(json_of(curve));
  root["verdicts"] = nlohmann::ordered_json::array();
  for (auto const& verdict : report.verdicts)
    root["verdicts"].push_back({{"kind", verdict.kind},
                                {"compared", verdict.compared},
                                {"agreed", verdict.agreed},
                                {"spread_known", verdict.spread_known},
                                {"noise_bound", verdict.noise_bound}});
  root["too_short"] = report.too_short;
  return root.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

}  // namespace

CalibrationData read_calibration(std::vector<std::string> const& files) {
  CalibrationData data;
  for (std::string const& file : files) {
    std::string const text = io::read_file(file);
    if (sim::is_gemm_table(text)) {
      auto const gemms = sim::read_measured_gemms(text, file);
      data.gemms.insert(data.gemms.end(), gemms.begin(), gemms.end());
    } else {
      auto const curves = sim::read_measured_curves(text, file);
      data.curves.insert(data.curves.end(), curves.begin(), curves.end());
    }
  }
  return data;
}

ExitCode run_validation(std::vector<std::string> const& files, bool json) {
  CalibrationData const data = read_calibration(files);
  auto const report = sim::validate(data.curves, data.gemms);
  fmt::print("{}", json ? to_json(report) : to_table(report));
  bool const all = std::all_of(report.curves.begin(), report.curves.end(),
                               [](sim::CurveValidation const& curve) { return curve.within_gates; });
  bool const verdicts = std::all_of(report.verdicts.begin(), report.verdicts.end(), sim::within_gate);
  return all && verdicts ? ExitCode::ok : ExitCode::found_wrong;
}

}  // namespace switchyard::cli
