// SPDX-License-Identifier: Apache-2.0
/// Readers of calibration files, one per container format, and the parts they share.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "switchyard/sim/measured_curve.hpp"

namespace switchyard::sim {

[[nodiscard]] std::vector<MeasuredCurve> read_curve_csv(std::string_view text, std::string const& file);
[[nodiscard]] std::vector<MeasuredCurve> read_curve_json(std::string_view text, std::string const& file);
[[nodiscard]] std::vector<MeasuredCurve> read_nccl_tests_text(std::string_view text, std::string const& file);
[[nodiscard]] std::vector<MeasuredCurve> read_bench_json(std::string_view text, std::string const& file);

/// @return whether it is what nccl-tests print.
[[nodiscard]] bool is_nccl_tests_text(std::string_view text);
/// @return whether it is several lines, the first of them an object.
[[nodiscard]] bool is_bench_json(std::string_view text);

/// @return file name and digest; device, version and statistic are the reader's.
[[nodiscard]] CostProvenance provenance_of(std::string_view text, std::string const& file);
/// @return the curve of `key`, added when it is new.
[[nodiscard]] MeasuredCurve& curve_of(std::vector<MeasuredCurve>& curves, CurveKey const& key,
                                      CostProvenance const& provenance);

}  // namespace switchyard::sim
