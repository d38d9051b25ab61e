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

/// The flows of every exchange, which a committed move may have changed.
class ExchangeTraffic {
 public:
  explicit ExchangeTraffic(TaskGraph const& graph) : graph_(graph) {
    for (Exchange const& exchange : graph.exchanges()) chosen_.push_back(exchange.traffic);
  }
  /// To be called before the exchange starts on any rank.
  void choose(ExchangeId exchange, TrafficId traffic) { chosen_[exchange.index()] = traffic; }
  [[nodiscard]] Traffic const& of(ExchangeId exchange) const {
    return graph_.traffic()[chosen_[exchange.index()].index()];
  }
  [[nodiscard]] int num_ranks() const noexcept { return graph_.num_ranks(); }
  [[nodiscard]] std::size_t num_exchanges() const noexcept { return chosen_.size(); }

 private:
  TaskGraph const& graph_;
  std::vector<TrafficId> chosen_;  // [exchanges]
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

/// @return the session for a model: bounds for t0, the flows of all exchanges together otherwise. It refers to
/// `traffic`.
[[nodiscard]] std::unique_ptr<NetworkSession> make_session(ExchangeTraffic const& traffic,
                                                           ClusterTopology const& topology, NetworkModel const& model);

}  // namespace switchyard::sim
