// SPDX-License-Identifier: Apache-2.0
/// Finding: one thing that `switchyard doctor` says, and the judgement that makes findings of facts.
#pragma once

#include <string>
#include <vector>

#include "commands/doctor_facts.hpp"

namespace switchyard::cli {

enum class FindingLevel : std::uint8_t {
  ok,
  warn,  ///< works, but slower or with less than it could
  fail,  ///< a job started like this will not run
};
[[nodiscard]] std::string_view to_string(FindingLevel level) noexcept;

struct Finding {
  FindingLevel level = FindingLevel::ok;
  std::string area{};    ///< e.g. "driver"
  std::string found{};   ///< with values
  std::string advice{};  ///< what to do; empty when nothing is
};

/// @param wanted_gpus fewer than these are a failure. @return findings in the order of reports, at least one per area.
/// @note pure.
[[nodiscard]] std::vector<Finding> diagnose(DoctorFacts const& facts, int wanted_gpus);

/// The parts: GPUs and their software; variables that steer NCCL and CUDA; the launch; the host.
void judge_gpus(DoctorFacts const& facts, int wanted_gpus, std::vector<Finding>& findings);
void judge_variables(DoctorFacts const& facts, std::vector<Finding>& findings);
void judge_launch(DoctorFacts const& facts, std::vector<Finding>& findings);
void judge_host(DoctorFacts const& facts, std::vector<Finding>& findings);

}  // namespace switchyard::cli
