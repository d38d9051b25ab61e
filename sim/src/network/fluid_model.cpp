// SPDX-License-Identifier: Apache-2.0
#include "network/fluid_model.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "network/flow_classes.hpp"
#include "network/flow_groups.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

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
  std::span<double> finish_us;      ///< [flows]
  /// [members] how much of the finish may be owed to merging
  std::vector<double> merge_us{};
  std::int64_t events = 0;
};

/// One group's flows wait, are active with a rate, and end.
class EventRun {
 public:
  EventRun(GroupRun& run, double merge_us)
      : run_(run), merge_us_(merge_us), classes_(run.paths), idle_us_(run.paths.capacity.size()) {
    order_.resize(run.members.size());
    std::iota(order_.begin(), order_.end(), 0U);
    std::stable_sort(order_.begin(), order_.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return departs(a) < departs(b); });
  }

  void go() {
    run_.merge_us.assign(run_.members.size(), 0.0);
    while (next_ < order_.size() || !classes_.empty()) {
      if (classes_.empty()) now_us_ = std::max(now_us_, departs(order_[next_]));
      start_due_flows();
      if (classes_.empty()) continue;
      classes_.settle();
      step();
      ++run_.events;
    }
    if (merge_us_ > 0) add_up_idle_times();
  }

 private:
  [[nodiscard]] double departs(std::uint32_t flow) const { return run_.departs[run_.members[flow]]; }

  void start_due_flows() {
    for (; next_ < order_.size() && departs(order_[next_]) <= now_us_; ++next_) {
      std::uint32_t const flow = order_[next_];
      std::int64_t const bytes = run_.flows[run_.members[flow]].bytes;
      if (bytes == 0) {
        finish(flow, departs(flow));
        continue;
      }
      run_.merge_us[flow] = now_us_ - departs(flow);
      classes_.start(flow, static_cast<double>(bytes));
    }
  }

  /// To the first start or end, and on to the last one within the merge window after it.
  void step() {
    double const until_start = next_ < order_.size() ? departs(order_[next_]) - now_us_ : kNever;
    double const closes = std::min(classes_.first_end_us(), until_start) + merge_us_;
    ended_.clear();
    double last = classes_.end_within(closes, ended_);
    double now_us = now_us_ + last;
    for (std::size_t i = next_; i < order_.size() && departs(order_[i]) - now_us_ <= closes; ++i)
      now_us = std::max(now_us, departs(order_[i]));
    last = std::max(last, now_us - now_us_);
    for (EndedFlow const& end : ended_) {
      finish(end.flow, now_us_ + end.us);
      for (std::uint32_t const link : run_.paths.links_of(end.flow))
        idle_us_[link] += end.rate * (last - end.us) / run_.paths.capacity[link];
    }
    classes_.advance(last);
    now_us_ = now_us;
  }

  void finish(std::uint32_t flow, double us) { run_.finish_us[run_.members[flow]] = us + run_.paths.latency_us[flow]; }

  void add_up_idle_times() {
    for (std::uint32_t flow = 0; flow < run_.members.size(); ++flow)
      for (std::uint32_t const link : run_.paths.links_of(flow)) run_.merge_us[flow] += idle_us_[link];
  }

  GroupRun& run_;
  double merge_us_;
  FlowClasses classes_;
  std::vector<double> idle_us_;  // [links] capacity that ended flows kept until their window closed, as time
  std::vector<std::uint32_t> order_;
  std::vector<EndedFlow> ended_;
  std::size_t next_ = 0;
  double now_us_ = 0;
};

/// All flows at once, each at its first rate to its end: one fill, every flow a class of its own.
void run_first_order(GroupRun& run) {
  std::vector<FillItem> items;
  items.reserve(run.members.size());
  for (std::uint32_t flow = 0; flow < run.members.size(); ++flow) {
    auto const first = run.paths.first_hop[flow];
    items.push_back({first, run.paths.first_hop[flow + 1] - first, 1, run.paths.limit[flow]});
  }
  std::vector<double> rates(items.size());
  WaterFill(run.paths.capacity).fill(items, run.paths.hops, rates);
  for (std::size_t flow = 0; flow < items.size(); ++flow) {
    std::uint32_t const member = run.members[flow];
    double const sends_us = static_cast<double>(run.flows[member].bytes) / rates[flow];
    run.finish_us[member] = run.departs[member] + sends_us + run.paths.latency_us[flow];
  }
  run.events = 1;
}

/// The last end when every flow is given back what merging may have cost it, see NetworkEstimate::merge_error_us.
double unmerged_end(GroupRun const& run) {
  double last = 0;
  for (std::size_t flow = 0; flow < run.merge_us.size(); ++flow)
    last = std::max(last, run.finish_us[run.members[flow]] - run.merge_us[flow]);
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
  double const bound_us = account.lower_bound_us();
  auto const departs = departure_us(topology, flows);
  NetworkEstimate estimate;
  estimate.bottleneck = account.bottleneck();
  estimate.finish_us = departs;  // of local flows
  double unmerged_us = bound_us;
  for (double const us : departs) unmerged_us = std::max(unmerged_us, us);
  FlowGroups const groups(topology, flows);
  LocalLinks local(topology);
  for (std::size_t group = 0; group < groups.size(); ++group) {
    FlowPaths const paths(topology, flows, groups.members(group), local);
    GroupRun run{paths, flows, groups.members(group), departs, estimate.finish_us};
    if (first_order_) run_first_order(run);
    if (!first_order_) EventRun(run, merge_fraction_ * bound_us).go();
    estimate.events += run.events;
    unmerged_us = std::max(unmerged_us, unmerged_end(run));
  }
  for (double const us : estimate.finish_us) estimate.makespan_us = std::max(estimate.makespan_us, us);
  if (merge_fraction_ > 0 && !first_order_)
    estimate.merge_error_us = std::max(0.0, estimate.makespan_us - unmerged_us) + merge_fraction_ * bound_us;
  return estimate;
}

}  // namespace switchyard::sim
