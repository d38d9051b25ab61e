// SPDX-License-Identifier: Apache-2.0
#include "network/fluid_model.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "network/flow_classes.hpp"
#include "network/flow_groups.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();
// Merge windows as parts of the error that is allowed; below the last one events are not merged.
constexpr double kFirstWindow = 0.25, kNarrower = 0.25, kLastWindow = 0.02;

/// What a sender has paid for messages since it was last idle. Messages are counted, so that the same messages in
/// another order end at the same time, bit for bit, and flows that depart together are one event.
class SenderClock {
 public:
  double depart(ClusterTopology const& topology, Flow const& flow) {
    if (flow.start_us > busy_until(topology)) *this = SenderClock(flow.start_us);
    (topology.node_of(flow.from) == topology.node_of(flow.to) ? inside_ : across_) += flow.messages;
    return busy_until(topology);
  }
  SenderClock() = default;

 private:
  explicit SenderClock(double idle_until_us) : idle_until_us_(idle_until_us) {}
  [[nodiscard]] double busy_until(ClusterTopology const& topology) const {
    ClusterSpec const& spec = topology.spec();
    return idle_until_us_ + (static_cast<double>(inside_) * spec.intra_node.message_us +
                             static_cast<double>(across_) * spec.network.message_us);
  }

  double idle_until_us_ = 0;
  std::int64_t inside_ = 0, across_ = 0;
};

/// What the models of one group read and write.
struct GroupRun {
  FlowPaths const& paths;
  std::span<Flow const> flows;  ///< of all groups
  std::span<std::uint32_t const> members;
  std::span<double const> departs;  ///< [flows]
  std::span<double> finish_us;      ///< [flows] may be the same memory: a flow departs before it ends
  /// [members] how much of the finish may be owed to merging
  std::vector<double> merge_us{};
  std::int64_t events = 0;
};

/// One group's flows wait, are active with a rate, and end.
class EventRun {
 public:
  EventRun(GroupRun& run, double merge_us)
      : run_(run), merge_us_(merge_us), classes_(run.paths), drift_us_(run.paths.capacity.size()), most_us_(drift_us_) {
    order_.resize(run.members.size());
    std::iota(order_.begin(), order_.end(), 0U);
    std::stable_sort(order_.begin(), order_.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return departs(a) < departs(b); });
  }

  void go() {
    run_.merge_us.assign(run_.members.size(), 0.0);
    double starts_us = next_start_us();
    while (next_ < order_.size() || !classes_.empty()) {
      classes_.settle(now_us_);
      double const end_us = classes_.first_end_us();
      now_us_ = std::max(now_us_, std::min(end_us, starts_us));
      if (end_us <= starts_us) end_flows();
      if (now_us_ >= starts_us) {
        start_flows(starts_us);
        starts_us = next_start_us();
      }
      ++run_.events;
    }
    if (merge_us_ > 0) add_up_drifts();
  }

 private:
  [[nodiscard]] double departs(std::uint32_t flow) const { return run_.departs[run_.members[flow]]; }

  /// The last start within the merge window of the first.
  [[nodiscard]] double next_start_us() const {
    if (next_ == order_.size()) return kNever;
    double const closes_us = departs(order_[next_]) + merge_us_;
    double last_us = departs(order_[next_]);
    for (std::size_t i = next_; i < order_.size() && departs(order_[i]) <= closes_us; ++i) last_us = departs(order_[i]);
    return last_us;
  }

  void start_flows(double us) {
    for (; next_ < order_.size() && departs(order_[next_]) <= us; ++next_) {
      std::uint32_t const flow = order_[next_];
      std::int64_t const bytes = run_.flows[run_.members[flow]].bytes;
      if (bytes == 0) {
        finish(flow, departs(flow));
        continue;
      }
      run_.merge_us[flow] = us - departs(flow);
      classes_.start(flow, static_cast<double>(bytes));
    }
  }

  /// What merging does: a flow that ends at e and leaves its links at the common time m has kept them, or lacked them,
  /// for m - e at its rate r. From m on the run is that of a flow longer by r (m - e), exactly, so that the whole run
  /// is the unmerged one of flows changed by these amounts; m makes their sum 0 in every window. A link's drift is what
  /// its own flows have been changed by so far.
  void end_flows() {
    ended_.clear();
    double const left_us = classes_.end_first(merge_us_, ended_);
    if (merge_us_ == 0) {
      for (EndedFlow const& end : ended_) finish(end.flow, end.us);
      return;
    }
    for (EndedFlow const& end : ended_) {
      finish(end.flow, end.us);
      for (std::uint32_t const link : run_.paths.links_of(end.flow))
        drift_us_[link] += end.rate * (left_us - end.us) / run_.paths.capacity[link];
    }
    for (EndedFlow const& end : ended_)
      for (std::uint32_t const link : run_.paths.links_of(end.flow))
        most_us_[link] = std::max(most_us_[link], std::abs(drift_us_[link]));
  }

  void finish(std::uint32_t flow, double us) { run_.finish_us[run_.members[flow]] = us + run_.paths.latency_us[flow]; }

  void add_up_drifts() {
    for (std::uint32_t flow = 0; flow < run_.members.size(); ++flow)
      for (std::uint32_t const link : run_.paths.links_of(flow)) run_.merge_us[flow] += most_us_[link];
  }

  GroupRun& run_;
  double merge_us_;
  FlowClasses classes_;
  // [links] as time: what flows that ended early kept, less what flows that ended late took, now and at most
  std::vector<double> drift_us_, most_us_;
  std::vector<std::uint32_t> order_;
  std::vector<EndedFlow> ended_;
  std::size_t next_ = 0;
  double now_us_ = 0;
};

/// What the first order needs for one group after the other: kept, because groups are many and memory is slow to get.
struct FirstOrder {
  std::vector<FillItem> items{};
  std::vector<double> rates{};
  WaterFill water{};
};

/// All flows at once, each at its first rate to its end: one fill, every flow a class of its own.
void run_first_order(GroupRun& run, FirstOrder& scratch) {
  auto& [items, rates, water] = scratch;
  items.clear();
  for (std::uint32_t flow = 0; flow < run.members.size(); ++flow) {
    auto const first = run.paths.first_hop[flow];
    items.push_back({first, run.paths.first_hop[flow + 1] - first, 1, run.paths.limit[flow]});
  }
  rates.resize(items.size());
  water.reset(run.paths.capacity, items, run.paths.hops);
  water.fill(rates);
  for (std::size_t flow = 0; flow < rates.size(); ++flow) {
    std::uint32_t const member = run.members[flow];
    double const sends_us = static_cast<double>(run.flows[member].bytes) / rates[flow];
    run.finish_us[member] = run.departs[member] + sends_us + run.paths.latency_us[flow];
  }
  run.events = 1;
}

/// The last end, and how early or late it may be.
struct LastEnd {
  double us = 0, least_us = 0, most_us = 0;
  void add(double finish_us, double merge_us) {
    us = std::max(us, finish_us);
    least_us = std::max(least_us, finish_us - merge_us);
    most_us = std::max(most_us, finish_us + merge_us);
  }
  [[nodiscard]] double error_us() const noexcept { return std::max(us - least_us, most_us - us); }
};

/// All groups, one after the other. @param window_us below 0: one fill and no events.
LastEnd run_groups(ClusterTopology const& topology, std::span<Flow const> flows, FlowGroups const& groups,
                   double window_us, NetworkEstimate& estimate) {
  estimate.finish_us =
      departure_us(topology, flows);  // which local flows keep; of others it is read before it is written
  estimate.events = 0;
  LastEnd last;
  for (double const us : estimate.finish_us) last.add(us, 0);
  LocalLinks local(topology);
  FlowPaths paths;
  FirstOrder first_order;
  for (std::size_t group = 0; group < groups.size(); ++group) {
    paths.reset(topology, flows, groups.members(group), local);
    GroupRun run{paths, flows, groups.members(group), estimate.finish_us, estimate.finish_us};
    if (window_us < 0) run_first_order(run, first_order);
    if (window_us >= 0) EventRun(run, window_us).go();
    estimate.events += run.events;
    for (std::size_t flow = 0; flow < run.members.size(); ++flow)
      last.add(estimate.finish_us[run.members[flow]], run.merge_us.empty() ? 0 : run.merge_us[flow]);
  }
  return last;
}

}  // namespace

std::vector<double> departure_us(ClusterTopology const& topology, std::span<Flow const> flows) {
  std::vector<SenderClock> senders(to_size(topology.num_ranks()));
  std::vector<double> departs;
  departs.reserve(flows.size());
  for (Flow const& flow : flows) {
    bool const local = flow.from == flow.to || flow.messages == 0;
    departs.push_back(local ? flow.start_us : senders[flow.from.index()].depart(topology, flow));
  }
  return departs;
}

NetworkEstimate FluidModel::estimate(ClusterTopology const& topology, std::span<Flow const> flows) const {
  LinkAccount account(topology);
  account.add(flows);
  NetworkEstimate estimate;
  estimate.bottleneck = account.bottleneck();
  FlowGroups const groups(topology, flows);
  double const bound_us = account.lower_bound_us();
  for (double part = merge_fraction_ * kFirstWindow;; part *= kNarrower) {
    if (part < merge_fraction_ * kLastWindow) part = 0;
    LastEnd const last = run_groups(topology, flows, groups, part * bound_us, estimate);
    estimate.makespan_us = std::max(last.us, part > 0 ? bound_us : 0);
    estimate.merge_error_us = part > 0 ? last.error_us() + 2 * part * bound_us : 0;
    if (estimate.merge_error_us <= merge_fraction_ * estimate.makespan_us) return estimate;
  }
}

NetworkEstimate FirstOrderModel::estimate(ClusterTopology const& topology, std::span<Flow const> flows) const {
  LinkAccount account(topology);
  account.add(flows);
  NetworkEstimate estimate;
  estimate.bottleneck = account.bottleneck();
  estimate.makespan_us = run_groups(topology, flows, FlowGroups(topology, flows), -1, estimate).us;
  return estimate;
}

}  // namespace switchyard::sim
