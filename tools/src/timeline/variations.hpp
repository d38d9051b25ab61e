// SPDX-License-Identifier: Apache-2.0
/// Variations: what becomes of times when one constant at a time is lower or higher.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "commands/simulate_inputs.hpp"

namespace switchyard::cli {

/// What a timeline needs to know beyond the network; 0 = not there.
struct WorkTimes {
  double attention_us = 0;
  double shared_expert_us = 0;
  double row_ns = 0;  ///< of a row that an expert computes, where the costs name no kernel
  double sm_share = 0;
};

/// Everything that can be varied.
struct TimingBasis {
  sim::ClusterSpec cluster{};
  ChosenCosts costs{};
  WorkTimes work{};
  int workers = 0;  ///< threads that variations run on, as many as there are cores for 0; results do not depend on it
};

inline constexpr double kVariation = 0.2;
/// A constant that changes a time by less than this part of it does not matter.
inline constexpr double kMatters = 0.005;

/// The constant of a cluster that matters to experts alone.
inline constexpr std::string_view kSmConstant = "sms_per_gpu";

struct Variation {
  std::string constant;
  std::vector<double> lower_us;   ///< [plans] with the constant times 1 - kVariation
  std::vector<double> higher_us;  ///< with 1 + kVariation
};

/// @param time gives the time of every plan; called for several bases at once, so it changes nothing.
/// @return every constant that is in use, in the cluster file's order, then those of the costs ("costs.alltoall_us",
/// "costs.expert_kernel_us": the times themselves) and of the work ("attention_us" and so on). Constants that measured
/// curves stand for are left out.
[[nodiscard]] std::vector<Variation> vary(TimingBasis const& basis,
                                          std::function<std::vector<double>(TimingBasis const&)> const& time);

/// @return whether plan `index` takes a time that the constant changes by kMatters or more.
[[nodiscard]] bool matters(Variation const& variation, std::size_t index, double us);

}  // namespace switchyard::cli
