// SPDX-License-Identifier: Apache-2.0
// Exchanges under any model that says when flows end. The flows of a busy period are timed together, again from its
// beginning whenever one is added: what ended before stays as it was, because no model looks ahead.
#include <algorithm>
#include <limits>
#include <numeric>

#include "network/fluid_model.hpp"
#include "timeline/part_ledger.hpp"
#include "timeline/sessions.hpp"

namespace switchyard::sim {
namespace {

class FlowSession final : public NetworkSession {
 public:
  FlowSession(ExchangeTraffic const& traffic, ClusterTopology const& topology, NetworkModel const& model)
      : traffic_(traffic), topology_(topology), model_(model), ledger_(traffic, topology) {}

  void start(ExchangeId exchange, RankId rank, double now_us) override {
    now_us_ = now_us;
    if (ended_ == flows_.size()) begin_period(now_us);
    ledger_.start(exchange, rank);
    Traffic const& traffic = traffic_.of(exchange);
    for (std::size_t f = traffic.first_of_sender[rank.index()]; f < traffic.first_of_sender[rank.index() + 1]; ++f) {
      Flow flow = traffic.flows[f];
      flow.start_us = now_us - period_us_;
      flows_.push_back(flow);
      exchange_.push_back(exchange);
      out_of_date_ = true;
    }
  }

  double next_us() override {
    if (ledger_.has_finished()) return now_us_;
    if (out_of_date_) estimate();
    if (ended_ == order_.size()) return std::numeric_limits<double>::infinity();
    return std::max(now_us_, period_us_ + finish_us_[order_[ended_]]);
  }

  std::vector<FinishedPart> finish_until(double now_us) override {
    if (out_of_date_) estimate();
    now_us_ = now_us;
    for (; ended_ < order_.size() && period_us_ + finish_us_[order_[ended_]] <= now_us; ++ended_) {
      std::uint32_t const flow = order_[ended_];
      ledger_.end_flow(exchange_[flow], flows_[flow], period_us_ + flows_[flow].start_us, now_us);
    }
    return ledger_.take_finished();
  }

  [[nodiscard]] std::vector<LinkSpan> link_spans() const override { return ledger_.link_spans(); }
  [[nodiscard]] double merge_error_us() const override { return merge_error_us_ + period_error_us_; }

 private:
  void begin_period(double now_us) {
    period_us_ = now_us;
    merge_error_us_ += period_error_us_;
    period_error_us_ = 0;
    flows_.clear();
    exchange_.clear();
    order_.clear();
    ended_ = 0;
  }

  /// Flows that have ended keep their place in the order; the others are sorted by their new ends.
  void estimate() {
    auto estimated = model_.estimate(topology_, flows_);
    finish_us_ = std::move(estimated.finish_us);
    period_error_us_ = estimated.merge_error_us;
    std::size_t const known = order_.size();
    order_.resize(flows_.size());
    std::iota(order_.begin() + static_cast<std::ptrdiff_t>(known), order_.end(), static_cast<std::uint32_t>(known));
    std::sort(order_.begin() + static_cast<std::ptrdiff_t>(ended_), order_.end(),
              [&](std::uint32_t a, std::uint32_t b) {
                return finish_us_[a] != finish_us_[b] ? finish_us_[a] < finish_us_[b] : a < b;
              });
    out_of_date_ = false;
  }

  ExchangeTraffic const& traffic_;
  ClusterTopology const& topology_;
  NetworkModel const& model_;
  PartLedger ledger_;
  double period_us_ = 0;  ///< when the busy period began
  double now_us_ = 0;
  std::vector<Flow> flows_;           ///< of the busy period, starts relative to it
  std::vector<ExchangeId> exchange_;  ///< [flows]
  std::vector<double> finish_us_;     ///< [flows] relative to the period
  std::vector<std::uint32_t> order_;  ///< flows by end
  std::size_t ended_ = 0;             ///< of order_
  bool out_of_date_ = false;
  double merge_error_us_ = 0, period_error_us_ = 0;
};

}  // namespace

std::unique_ptr<NetworkSession> make_flow_session(ExchangeTraffic const& traffic, ClusterTopology const& topology,
                                                  NetworkModel const& model) {
  return std::make_unique<FlowSession>(traffic, topology, model);
}

std::unique_ptr<NetworkSession> make_session(ExchangeTraffic const& traffic, ClusterTopology const& topology,
                                             NetworkModel const& model) {
  if (model.fidelity() == Fidelity::t0) return make_bound_session(traffic, topology);
  auto const* fluid = dynamic_cast<FluidModel const*>(&model);
  if (fluid != nullptr) return make_fluid_session(traffic, topology, fluid->merge_fraction());
  return make_flow_session(traffic, topology, model);
}

}  // namespace switchyard::sim
