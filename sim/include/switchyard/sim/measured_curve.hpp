// SPDX-License-Identifier: Apache-2.0
/// MeasuredCurve: samples of one operation on one system, with where they are from.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "switchyard/sim/cost_curve.hpp"

namespace switchyard::sim {

/// Where numbers are from. Every member must be known: a constant nobody can trace is not fitted.
struct CostProvenance {
  std::string file{};       ///< name without folders
  std::string digest{};     ///< 16 hexadecimal digits over the file's bytes
  std::string device{};     ///< as the file names it, "NVIDIA H100 80GB HBM3"
  std::string version{};    ///< of the measured library, "NCCL 2.29.2"
  std::string statistic{};  ///< what a sample is, "average of the timed calls"
  friend bool operator==(CostProvenance const&, CostProvenance const&) = default;
};
/// @throws Error{invalid_argument} naming the member that is empty.
void require_valid(CostProvenance const& provenance);

enum class SizeUnit : std::uint8_t {
  bytes_per_rank,   ///< what a rank sends in total, its own share included
  tokens_per_rank,  ///< tokens a rank dispatches
  rows_per_expert,  ///< rows of every active expert
  bytes_moved,      ///< what a kernel reads and writes
};
[[nodiscard]] std::string_view to_string(SizeUnit unit) noexcept;

/// What was measured. Two curves are of the same thing when all members agree.
struct CurveKey {
  std::string operation{};  ///< "alltoall", "deepep_ll dispatch", ...
  std::string system{};     ///< "h100_sxm"; the device where a file names no system
  int ranks = 0;            ///< 0 = the file does not say
  std::string variant{};    ///< what else tells curves of the operation apart, "nodes=2 topk=8 experts=256 sms=20"
  SizeUnit unit = SizeUnit::bytes_per_rank;
  friend bool operator==(CurveKey const&, CurveKey const&) = default;
};
/// @return "alltoall h100_sxm x8 VARIANT"; unknown ranks and an empty variant are left out.
[[nodiscard]] std::string to_string(CurveKey const& key);

struct MeasuredCurve {
  CurveKey key{};
  CostProvenance provenance{};
  std::vector<Measurement> samples{};
};

/// Reads a calibration file; its kind is told by its columns or its "schema" member (docs/simulator.md lists them):
/// nccl-tests all-to-all (equal sizes of different element types are samples of one curve), DeepEP low-latency and
/// normal kernels, samples of `alltoallv`, where every pattern is a curve of its own, what nccl-tests print, or the
/// lines of the GPU benchmarks.
/// @return curves in order of first appearance. @throws Error{parse} with file and line for anything else, a number
/// that
///         is none, or a row without device or version.
[[nodiscard]] std::vector<MeasuredCurve> read_measured_curves(std::string_view text, std::string const& file);

}  // namespace switchyard::sim
