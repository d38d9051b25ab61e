// SPDX-License-Identifier: Apache-2.0
/// The ways in which exchanges that overlap are timed.
#pragma once

#include "timeline/network_session.hpp"

namespace switchyard::sim {

/// Flows of all exchanges together, by any model that says when each ends.
[[nodiscard]] std::unique_ptr<NetworkSession> make_flow_session(ExchangeTraffic const& traffic,
                                                                ClusterTopology const& topology,
                                                                NetworkModel const& model);
/// The same for t1 alone, event by event. @param merge_fraction as NetworkModelOptions, of every exchange's own bound.
[[nodiscard]] std::unique_ptr<NetworkSession> make_fluid_session(ExchangeTraffic const& traffic,
                                                                 ClusterTopology const& topology,
                                                                 double merge_fraction);
/// Every rank's part on its own: the lower bound of the flows that leave or reach the rank, once their senders have
/// started.
[[nodiscard]] std::unique_ptr<NetworkSession> make_bound_session(ExchangeTraffic const& traffic,
                                                                 ClusterTopology const& topology);

}  // namespace switchyard::sim
