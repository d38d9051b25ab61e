// SPDX-License-Identifier: Apache-2.0
// What doctor says of environment variables that steer NCCL and CUDA.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "commands/doctor_findings.hpp"

namespace switchyard::cli {
namespace {

using enum FindingLevel;

/// A setting that changes what users of this library see.
struct Setting {
  char const* name;
  char const* value;  ///< null: any value that is not empty
  FindingLevel level;
  char const* effect;
  char const* advice;
};

constexpr Setting kSettings[] = {
    {"NCCL_COMM_BLOCKING", "1", fail, "NCCL calls block, so that no deadline can end them", "unset it"},
    {"NCCL_P2P_DISABLE", "1", warn, "GPUs of one host copy through host memory", "unset it unless links are broken"},
    {"NCCL_SHM_DISABLE", "1", warn, "ranks of one host without direct access talk over the network", "unset it"},
    {"NCCL_CUMEM_ENABLE", "0", warn, "no symmetric windows: the fused path is off", "unset it"},
    {"NCCL_WIN_ENABLE", "0", warn, "no symmetric windows: the fused path is off", "unset it"},
    {"NCCL_IB_DISABLE", "1", warn, "nodes talk over TCP instead of InfiniBand or RoCE",
     "unset it where there is such a network"},
    {"NCCL_NET_GDR_LEVEL", "0", warn, "network cards do not read GPU memory", "unset it"},
    {"NCCL_DEBUG", "TRACE", warn, "NCCL logs every call", "use WARN outside of debugging"},
    {"NCCL_DEBUG", "INFO", warn, "NCCL logs its set-up on every rank", "use WARN outside of debugging"},
    {"NCCL_ALGO", nullptr, warn, "NCCL's choice of algorithm is overridden", "unset it before measuring"},
    {"NCCL_PROTO", nullptr, warn, "NCCL's choice of protocol is overridden", "unset it before measuring"},
    {"NCCL_MAX_NCHANNELS", nullptr, warn, "NCCL's number of channels is limited", "unset it before measuring"},
    {"CUDA_LAUNCH_BLOCKING", "1", warn, "every kernel waits for the one before: nothing overlaps",
     "unset it outside of debugging"},
    {"CUDA_VISIBLE_DEVICES", "", warn, "all GPUs are hidden from this process", "unset it or name devices"},
};

bool matches(Setting const& setting, std::string const& value) {
  if (setting.value == nullptr) return !value.empty();
  return value == setting.value;
}

void judge_interface(DoctorFacts const& facts, std::vector<Finding>& findings) {
  auto const found = facts.environment.find("NCCL_SOCKET_IFNAME");
  if (found == facts.environment.end() || found->second.empty()) return;
  // A list of prefixes; '^' in front excludes them, '=' asks for exact names.
  std::string const& text = found->second;
  if (text.front() == '^') return;
  bool const exact = text.front() == '=';
  std::string list = text.substr(exact ? 1 : 0) + ',';
  for (std::size_t comma = list.find(','); comma != std::string::npos; comma = list.find(',')) {
    std::string const prefix = list.substr(0, comma);
    list.erase(0, comma + 1);
    auto const fits = [&](std::string const& name) { return exact ? name == prefix : name.rfind(prefix, 0) == 0; };
    if (!prefix.empty() && std::any_of(facts.interfaces.begin(), facts.interfaces.end(), fits)) return;
  }
  findings.push_back({fail, "variables",
                      fmt::format("NCCL_SOCKET_IFNAME={}: no such interface; this host has {}", text,
                                  fmt::join(facts.interfaces, ", ")),
                      "name one of them, or unset it"});
}

}  // namespace

void judge_variables(DoctorFacts const& facts, std::vector<Finding>& findings) {
  std::size_t const before = findings.size();
  for (Setting const& setting : kSettings) {
    auto const found = facts.environment.find(setting.name);
    if (found == facts.environment.end() || !matches(setting, found->second)) continue;
    findings.push_back({setting.level, "variables",
                        fmt::format("{}={}: {}", setting.name, found->second, setting.effect), setting.advice});
  }
  judge_interface(facts, findings);
  if (findings.size() == before) findings.push_back({ok, "variables", "none is set that hurts NCCL or CUDA", ""});
}

}  // namespace switchyard::cli
