// SPDX-License-Identifier: Apache-2.0
/// PlanCost: phases of flows timed one after the other, what binds each, and which constants the result hangs on.
#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "switchyard/sim/network_model.hpp"
#include "switchyard/sim/plan_traffic.hpp"

namespace switchyard::sim {

struct PhaseCost {
  std::string name;
  std::int64_t flows = 0;
  std::int64_t bytes = 0;        ///< bytes to the own rank included
  std::int64_t local_bytes = 0;  ///< of those, bytes that cross no link
  double lower_bound_us = 0;
  double time_us = 0;        ///< of the model
  std::string bottleneck{};  ///< the link that attains the lower bound; empty when none does
  double merge_error_us = 0;
};

/// Bytes of all links of a class, over all phases.
struct LinkClassUse {
  LinkClass link_class{};
  int links = 0;
  std::int64_t bytes = 0;
  std::int64_t max_link_bytes = 0;
  double bytes_per_us = 0;  ///< capacity of one link
};

struct PlanCost {
  std::vector<PhaseCost> phases;
  std::vector<LinkClassUse> links;  ///< classes that the cluster has
  double lower_bound_us = 0;        ///< sum over phases
  double time_us = 0;
};

/// @throws as NetworkModel::estimate().
[[nodiscard]] PlanCost cost_of(ClusterTopology const& topology, std::span<TrafficPhase const> phases,
                               NetworkModel const& model);

/// What becomes of the time when one constant is lower or higher by a fraction.
struct Sensitivity {
  std::string constant;  ///< as in the cluster file, "network.nic_gb_per_s"
  double lower_us = 0;   ///< time with the constant times 1 - fraction
  double higher_us = 0;  ///< with 1 + fraction
};

/// One entry per constant of the cluster that is not zero, in the order of the file. A pair's limit is lowered with its
/// port and never raised above it.
/// @throws Error{invalid_argument} for a fraction outside (0, 1).
[[nodiscard]] std::vector<Sensitivity> sensitivities(ClusterSpec const& spec, std::span<TrafficPhase const> phases,
                                                     NetworkModel const& model, double fraction);

/// A number of a cluster that a result can hang on.
struct ClusterConstant {
  std::string name;  ///< as in the cluster file
  double value = 0;
};
/// @return the constants that are not zero, in the order of the file.
[[nodiscard]] std::vector<ClusterConstant> constants_of(ClusterSpec const& spec);

/// @return the names that with_constant() knows, in the order of the file.
[[nodiscard]] std::vector<std::string> cluster_constant_names();

/// Changes one constant of a cluster. @param name as in the cluster file. @throws Error{invalid_argument} for an
/// unknown name (the text lists the known ones) or a value that require_valid refuses.
[[nodiscard]] ClusterSpec with_constant(ClusterSpec spec, std::string_view name, double value);

}  // namespace switchyard::sim
