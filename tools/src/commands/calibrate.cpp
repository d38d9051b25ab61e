// SPDX-License-Identifier: Apache-2.0
// switchyard calibrate: costs for the simulator, fitted to measurements whose origin is known.
#include <fmt/format.h>

#include <algorithm>

#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "commands/simulate_validation.hpp"
#include "switchyard/io/file.hpp"

namespace switchyard::cli {
namespace {

constexpr double kNsPerUs = 1000;

sim::CostFile fitted(CalibrationData const& data, std::string const& system) {
  sim::CostFile costs;
  for (auto const& curve : data.curves)
    if (system.empty() || curve.key.system == system) costs.curves.push_back(sim::fit(curve));
  for (auto const& gemm : data.gemms) costs.gemms.push_back(sim::fit_gemm(gemm));
  if (costs.curves.empty() && costs.gemms.empty())
    throw UsageError(fmt::format("nothing to fit{}{}: the files hold no such measurements",
                                 system.empty() ? "" : " for --system ", system));
  return costs;
}

std::string to_table(sim::CostFile const& costs) {
  TextTable table({"curve", "samples", "rejected", "knots", "least us", "largest us"});
  for (auto const& curve : costs.curves) {
    auto const& knots = curve.fit.curve.knots;
    table.add_row({to_string(curve.key), fmt::format("{}", curve.samples), fmt::format("{}", curve.fit.rejected.size()),
                   fmt::format("{}", knots.size()), fmt::format("{:.1f}", knots.front().us),
                   fmt::format("{:.1f}", knots.back().us)});
  }
  std::string text = table.str();
  for (auto const& gemm : costs.gemms)
    text += fmt::format(
        "grouped gemm {}: {:.1f} us + {:.2f} us per active expert at one row, {:.2f} ns per token, tiles of {} "
        "rows at {:.2f} us\n",
        to_string(gemm.key), gemm.launch_us, cost_us(gemm.per_expert, 1) + gemm.tile_us, gemm.token_us * kNsPerUs,
        gemm.tile_rows, gemm.tile_us);
  return text;
}

ExitCode run_calibrate(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  auto const costs = fitted(read_calibration(options.list("FILE")), options.text("system"));
  std::string const text = sim::to_json(costs);
  if (options.has("out")) io::write_file_atomically(options.text("out"), text);
  fmt::print("{}", json ? text : to_table(costs));
  return ExitCode::ok;
}

}  // namespace

Command calibrate_command() {
  return {"calibrate",
          "fits the simulator's costs to measurements",
          "Reads measured times (what nccl-tests print, tables of all-to-all, DeepEP and grouped GEMM times, JSON of\n"
          "the GPU benchmarks), leaves out outliers by a stated rule, and fits a monotone piecewise-linear curve\n"
          "to each. Files and rules: docs/simulator.md. Measurements that do not say device and version are refused.\n",
          {{"FILE", OptionKind::positional, "FILE", "", "calibration files", true},
           {"system", OptionKind::optional, "NAME", "", "only curves of this system"},
           {"out", OptionKind::optional, "FILE", "", "write the costs for `simulate --costs`"},
           format_option()},
          {"switchyard calibrate nccl_alltoall.csv moe_gemm_h200.csv --system h200_sxm --out costs.json"},
          run_calibrate};
}

}  // namespace switchyard::cli
