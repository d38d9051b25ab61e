// SPDX-License-Identifier: Apache-2.0
/// NetworkSession: exchanges that start while others are under way, rank by rank.
#pragma once

#include <memory>
#include <vector>

#include "switchyard/sim/network_model.hpp"
#include "switchyard/sim/task_graph.hpp"
#include "switchyard/sim/timeline.hpp"

namespace switchyard::sim {

/// The part of an exchange that one rank has.
struct FinishedPart {
  ExchangeId exchange{};
  RankId rank{};
  RankId waited_for{};  ///< the rank whose flow ended last
};

class NetworkSession {
 public:
  virtual ~NetworkSession() = default;
  /// Times never go backwards. Every part starts once.
  virtual void start(ExchangeId exchange, RankId rank, double now_us) = 0;
  /// @return when the next part may end, infinity when nothing is under way.
  [[nodiscard]] virtual double next_us() = 0;
  /// @return the parts that end up to `now_us`, exchanges and ranks ascending.
  [[nodiscard]] virtual std::vector<FinishedPart> finish_until(double now_us) = 0;
  /// @return what kept links busy, in no order.
  [[nodiscard]] virtual std::vector<LinkSpan> link_spans() const = 0;
  [[nodiscard]] virtual double merge_error_us() const { return 0; }
};

/// @return the session for a model: bounds for t0, the flows of all exchanges together otherwise.
[[nodiscard]] std::unique_ptr<NetworkSession> make_session(TaskGraph const& graph, ClusterTopology const& topology,
                                                           NetworkModel const& model);

}  // namespace switchyard::sim
