// SPDX-License-Identifier: Apache-2.0
// Exchanges under t1, event by event: what flow_session.cpp does for any model, without going back to the beginning.
#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <optional>
#include <queue>

#include "network/flow_classes.hpp"
#include "network/fluid_model.hpp"
#include "switchyard/internal/to_size.hpp"
#include "timeline/part_ledger.hpp"
#include "timeline/sessions.hpp"

namespace switchyard::sim {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// A flow of an exchange at a moment of its life.
struct FlowAt {
  double us = 0;
  ExchangeId exchange{};
  std::uint32_t flow = 0;  ///< of the exchange's traffic
  double start_us = 0;     ///< when its sender's part began
};
struct Later {
  bool operator()(FlowAt const& a, FlowAt const& b) const {
    if (a.us != b.us) return a.us > b.us;
    return a.exchange != b.exchange ? a.exchange > b.exchange : a.flow > b.flow;
  }
};
using FlowQueue = std::priority_queue<FlowAt, std::vector<FlowAt>, Later>;

/// The flows of the exchanges under way, with the rates that they share links at. Built anew when an exchange begins.
class OpenFlows {
 public:
  struct Member {
    FlowAt at{};
    double bytes_left = 0;  ///< when it was added
    bool active = false;    ///< a flow that is not has ended, or not departed yet: at.us is then below 0
  };

  OpenFlows(ClusterTopology const& topology, std::vector<Flow> const& flows, std::vector<Member> members)
      : members_(std::move(members)),
        all_(members_.size()),
        local_(topology),
        paths_(topology, flows, count_up(), local_),
        classes_(paths_) {
    for (std::uint32_t i = 0; i < members_.size(); ++i) {
      auto& numbers = number_[members_[i].at.exchange];
      numbers.resize(std::max(numbers.size(), std::size_t{members_[i].at.flow} + 1));
      numbers[members_[i].at.flow] = i;
      if (members_[i].active) classes_.start(i, members_[i].bytes_left);
    }
  }
  OpenFlows(OpenFlows const&) = delete;  // classes_ refers to paths_
  OpenFlows& operator=(OpenFlows const&) = delete;

  [[nodiscard]] FlowClasses& classes() noexcept { return classes_; }
  [[nodiscard]] std::vector<Member>& members() noexcept { return members_; }
  [[nodiscard]] double latency_us(std::uint32_t member) const { return paths_.latency_us[member]; }
  [[nodiscard]] std::uint32_t number_of(FlowAt const& flow) const { return number_.at(flow.exchange)[flow.flow]; }

 private:
  [[nodiscard]] std::vector<std::uint32_t> const& count_up() {
    std::iota(all_.begin(), all_.end(), 0U);
    return all_;
  }

  std::vector<Member> members_;
  std::vector<std::uint32_t> all_;
  LocalLinks local_;
  FlowPaths paths_;
  FlowClasses classes_;
  std::map<ExchangeId, std::vector<std::uint32_t>> number_;  // by flow
};

class FluidSession final : public NetworkSession {
 public:
  FluidSession(ExchangeTraffic const& traffic, ClusterTopology const& topology, double merge_fraction)
      : traffic_(traffic),
        topology_(topology),
        merge_fraction_(merge_fraction),
        ledger_(traffic, topology),
        busy_until_us_(to_size(traffic.num_ranks()), 0.0),
        begun_(traffic.num_exchanges(), 0) {}

  void start(ExchangeId exchange, RankId rank, double now_us) override {
    now_us_ = now_us;
    ledger_.start(exchange, rank);
    if (begun_[exchange.index()] == 0) open(exchange);
    Traffic const& traffic = traffic_.of(exchange);
    auto const first = traffic.first_of_sender[rank.index()], end = traffic.first_of_sender[rank.index() + 1];
    if (first == end) return;
    std::vector<Flow> sends(traffic.flows.begin() + static_cast<std::ptrdiff_t>(first),
                            traffic.flows.begin() + static_cast<std::ptrdiff_t>(end));
    double& busy_until = busy_until_us_[rank.index()];
    for (Flow& flow : sends) flow.start_us = std::max(now_us, busy_until);
    auto const departs = departure_us(topology_, sends);
    for (std::size_t i = 0; i < sends.size(); ++i) {
      bool const local = sends[i].from == sends[i].to;
      if (!local) busy_until = std::max(busy_until, departs[i]);
      waiting_.push({local ? now_us : departs[i], exchange, static_cast<std::uint32_t>(first + i), now_us});
    }
  }

  double next_us() override {
    if (ledger_.has_finished()) return now_us_;
    double const arrival = arriving_.empty() ? kNever : arriving_.top().us;
    return std::max(now_us_, std::min(arrival, next_event_us()));
  }

  std::vector<FinishedPart> finish_until(double now_us) override {
    for (double us = next_event_us(); us <= now_us; us = next_event_us()) step(us);
    now_us_ = now_us;
    for (; !arriving_.empty() && arriving_.top().us <= now_us; arriving_.pop()) {
      FlowAt const& flow = arriving_.top();
      ledger_.end_flow(flow.exchange, traffic_.of(flow.exchange).flows[flow.flow], flow.start_us, now_us);
    }
    return ledger_.take_finished();
  }

  [[nodiscard]] std::vector<LinkSpan> link_spans() const override { return ledger_.link_spans(); }
  [[nodiscard]] double merge_error_us() const override { return merge_error_us_; }

 private:
  void open(ExchangeId exchange) {
    Traffic const& traffic = traffic_.of(exchange);
    begun_[exchange.index()] = 1;
    opened_.push_back(exchange);
    if (merge_fraction_ == 0) return;
    LinkAccount account(topology_);
    account.add(traffic.flows);
    window_us_ = merge_fraction_ / 2 * account.lower_bound_us();
    merge_error_us_ += 2 * window_us_;
  }

  /// When what waits departs: a merge window after the first that may.
  [[nodiscard]] double departs_us() const {
    return waiting_.empty() ? kNever : std::max(fluid_us_, waiting_.top().us + window_us_);
  }

  /// The next departure, or end of a flow's last byte at its sender.
  double next_event_us() {
    double const departs = departs_us();
    if (!flows_ || flows_->classes().empty()) return departs;
    if (!settled_) flows_->classes().settle(event_us_);
    settled_ = true;
    return std::min(departs, flows_->classes().first_end_us());
  }

  void step(double us) {
    bool const departure = departs_us() <= us;
    bool const end = flows_ && !flows_->classes().empty() && flows_->classes().first_end_us() <= us;
    event_us_ = us;
    fluid_us_ = std::max(fluid_us_, us);
    if (end) end_flows();
    if (departure) depart();
  }

  /// Ends what ends within the merge window of one island; links that it leaves idle till then are handed on at its
  /// close.
  void end_flows() {
    ended_.clear();
    fluid_us_ = std::max(fluid_us_, flows_->classes().end_first(window_us_, ended_));
    for (EndedFlow const& one : ended_) {
      OpenFlows::Member& member = flows_->members()[one.flow];
      member.active = false;
      member.at.us = one.us + flows_->latency_us(one.flow);
      arriving_.push(member.at);
    }
    settled_ = false;
  }

  /// Starts what waits up to now.
  void depart() {
    if (!opened_.empty()) rebuild();
    for (; !waiting_.empty() && waiting_.top().us <= fluid_us_; waiting_.pop()) {
      FlowAt const& flow = waiting_.top();
      Flow const& sent = traffic_.of(flow.exchange).flows[flow.flow];
      if (sent.from == sent.to || sent.bytes == 0) {
        FlowAt arrives = flow;
        arrives.us += topology_.path(sent.from, sent.to).latency_us;
        arriving_.push(arrives);
        continue;
      }
      std::uint32_t const number = flows_->number_of(flow);
      flows_->members()[number].active = true;
      flows_->members()[number].at = flow;
      flows_->classes().start(number, static_cast<double>(sent.bytes));
      settled_ = false;
    }
  }

  /// Flows under way and those of exchanges that have just begun; all others are forgotten.
  void rebuild() {
    std::vector<OpenFlows::Member> members;
    if (flows_) {
      if (!settled_ && !flows_->classes().empty()) flows_->classes().settle(event_us_);
      for (std::uint32_t i = 0; i < flows_->members().size(); ++i) {
        OpenFlows::Member member = flows_->members()[i];
        if (member.active) member.bytes_left = flows_->classes().bytes_left(i, fluid_us_);
        if (member.active || member.at.us < 0) members.push_back(member);
      }
    }
    for (ExchangeId const exchange : opened_) {
      Traffic const& traffic = traffic_.of(exchange);
      for (std::uint32_t f = 0; f < traffic.flows.size(); ++f)
        if (traffic.flows[f].from != traffic.flows[f].to && traffic.flows[f].bytes > 0)
          members.push_back({{-1, exchange, f, 0}, 0, false});
    }
    opened_.clear();
    std::vector<Flow> flows;
    for (auto const& member : members) flows.push_back(traffic_.of(member.at.exchange).flows[member.at.flow]);
    flows_.emplace(topology_, flows, std::move(members));
    settled_ = false;
  }

  ExchangeTraffic const& traffic_;
  ClusterTopology const& topology_;
  double merge_fraction_;
  PartLedger ledger_;
  std::vector<double> busy_until_us_;  // [ranks] with message costs
  std::vector<char> begun_;            // [exchanges]
  std::vector<ExchangeId> opened_;     // since the last rebuild
  std::optional<OpenFlows> flows_;
  FlowQueue waiting_, arriving_;
  std::vector<EndedFlow> ended_;
  double event_us_ = 0;  ///< of the last step
  double fluid_us_ = 0;  ///< how far any island has gone: ahead of the event by a merge window at most
  double now_us_ = 0;
  double window_us_ = 0, merge_error_us_ = 0;
  bool settled_ = false;
};

}  // namespace

std::unique_ptr<NetworkSession> make_fluid_session(ExchangeTraffic const& traffic, ClusterTopology const& topology,
                                                   double merge_fraction) {
  return std::make_unique<FluidSession>(traffic, topology, merge_fraction);
}

}  // namespace switchyard::sim
