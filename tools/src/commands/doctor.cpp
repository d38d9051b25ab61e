// SPDX-License-Identifier: Apache-2.0
// switchyard doctor: what would keep a job from starting here, or make it slow.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "commands/commands.hpp"
#include "commands/doctor_findings.hpp"
#include "switchyard/types/version.hpp"

namespace switchyard::cli {
namespace {

std::int64_t count_of(std::vector<Finding> const& findings, FindingLevel level) {
  return std::count_if(findings.begin(), findings.end(),
                       [&](Finding const& finding) { return finding.level == level; });
}

std::string to_table(std::vector<Finding> const& findings) {
  std::string text = fmt::format("switchyard {}\n", SWITCHYARD_VERSION_STRING);
  for (Finding const& finding : findings) {
    text += fmt::format("{:<5} {:<14} {}\n", to_string(finding.level), finding.area, finding.found);
    if (!finding.advice.empty()) text += fmt::format("{:<20}  -> {}\n", "", finding.advice);
  }
  return text + fmt::format("{} ok, {} warn, {} fail\n", count_of(findings, FindingLevel::ok),
                            count_of(findings, FindingLevel::warn), count_of(findings, FindingLevel::fail));
}

std::string to_json(std::vector<Finding> const& findings) {
  nlohmann::ordered_json json = {{"schema_version", 1}, {"version", SWITCHYARD_VERSION_STRING}};
  for (auto const level : {FindingLevel::ok, FindingLevel::warn, FindingLevel::fail})
    json[std::string(to_string(level))] = count_of(findings, level);
  json["findings"] = nlohmann::ordered_json::array();
  for (Finding const& finding : findings)
    json["findings"].push_back({{"level", to_string(finding.level)},
                                {"area", finding.area},
                                {"found", finding.found},
                                {"advice", finding.advice}});
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

ExitCode run_doctor(ParsedOptions const& options) {
  bool const json = options.choice("format", {"table", "json"}) == "json";
  int const gpus = options.small_integer("gpus", 0, 1024);
  int const connect_ms = options.small_integer("connect-ms", 1, 60000);
  auto const findings = diagnose(gather_facts(connect_ms), gpus);
  fmt::print("{}", json ? to_json(findings) : to_table(findings));
  return count_of(findings, FindingLevel::fail) > 0 ? ExitCode::found_wrong : ExitCode::ok;
}

}  // namespace

std::string_view to_string(FindingLevel level) noexcept {
  if (level == FindingLevel::ok) return "ok";
  return level == FindingLevel::warn ? "warn" : "fail";
}

std::vector<Finding> diagnose(DoctorFacts const& facts, int wanted_gpus) {
  std::vector<Finding> findings;
  judge_gpus(facts, wanted_gpus, findings);
  judge_variables(facts, findings);
  judge_launch(facts, findings);
  judge_host(facts, findings);
  return findings;
}

Command doctor_command() {
  return {"doctor",
          "says what keeps a job from starting here",
          "Looks at the driver, CUDA and NCCL (found and built against), GPUs and their links, variables that steer\n"
          "NCCL and CUDA, who the launcher says this process is, where ranks meet, shared memory, limits and host\n"
          "names. Run it as a rank: under torchrun, srun or mpirun, or with their variables set. Every finding is ok,\n"
          "warn or fail and says what to do; a fail makes the exit code 1. Works without a GPU.\n",
          {{"gpus", OptionKind::optional, "N", "0", "fail with fewer than N usable GPUs"},
           {"connect-ms", OptionKind::optional, "MS", "1000", "how long to wait for the meeting place's answer"},
           format_option()},
          {"switchyard doctor", "switchyard doctor --gpus 2 --format json"},
          run_doctor};
}

}  // namespace switchyard::cli
