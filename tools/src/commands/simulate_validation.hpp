// SPDX-License-Identifier: Apache-2.0
/// The report of `switchyard simulate --validate`, and the calibration files it and `calibrate` read.
#pragma once

#include <string>
#include <vector>

#include "cli/command.hpp"
#include "switchyard/sim/validation.hpp"

namespace switchyard::cli {

struct CalibrationData {
  std::vector<sim::MeasuredCurve> curves{};
  std::vector<sim::MeasuredGemm> gemms{};
};
/// @throws Error{parse} as the readers, Error{io}.
[[nodiscard]] CalibrationData read_calibration(std::vector<std::string> const& files);

/// Prints errors, gates and rejects of every curve. @return found_wrong when a curve misses its gates.
[[nodiscard]] ExitCode run_validation(std::vector<std::string> const& files, bool json);

}  // namespace switchyard::cli
