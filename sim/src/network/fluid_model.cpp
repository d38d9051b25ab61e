// SPDX-License-Identifier: Apache-2.0
#include "network/fluid_model.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

#include "network/max_min.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

/// One run: flows wait, are active with a rate, and end.
class Run {
 public:
  Run(ClusterTopology const& topology, std::span<Flow const> flows, double merge_us)
      : shares_(topology, flows), flows_(flows), departs_(departure_us(topology, flows)), merge_us_(merge_us) {
    left_.resize(flows.size());
    rate_.resize(flows.size());
    result_.finish_us.resize(flows.size());
    order_.resize(flows.size());
    std::iota(order_.begin(), order_.end(), 0U);
    std::stable_sort(order_.begin(), order_.end(),
                     [&](std::uint32_t a, std::uint32_t b) { return departs_[a] < departs_[b]; });
  }

  NetworkEstimate go() {
    while (next_ < order_.size() || !active_.empty()) {
      if (active_.empty()) now_us_ = std::max(now_us_, departs_[order_[next_]]);
      start_due_flows();
      if (active_.empty()) continue;
      shares_.fill(active_, rate_);
      advance(time_of_next_event());
      ++result_.events;
    }
    for (double const us : result_.finish_us) result_.makespan_us = std::max(result_.makespan_us, us);
    return std::move(result_);
  }

 private:
  void start_due_flows() {
    bool added = false;
    for (; next_ < order_.size() && departs_[order_[next_]] <= now_us_; ++next_) {
      std::uint32_t const flow = order_[next_];
      left_[flow] = static_cast<double>(flows_[flow].bytes);
      if (left_[flow] == 0 || shares_.links_of(flow).empty()) {
        end(flow, now_us_);
        continue;
      }
      active_.push_back(flow);
      added = true;
    }
    if (added) std::sort(active_.begin(), active_.end());
  }

  /// The first end among the active flows, stretched over the merge window, or the next start if that comes before.
  double time_of_next_event() {
    double first_end = kNever;
    for (auto const flow : active_) first_end = std::min(first_end, now_us_ + left_[flow] / rate_[flow]);
    double last_merged = first_end;
    if (merge_us_ > 0)
      for (auto const flow : active_) {
        double const ends = now_us_ + left_[flow] / rate_[flow];
        if (ends <= first_end + merge_us_) last_merged = std::max(last_merged, ends);
      }
    double const next_start = next_ < order_.size() ? departs_[order_[next_]] : kNever;
    if (next_start < last_merged) return next_start;
    result_.merge_error_us += last_merged - first_end;
    return last_merged;
  }

  void advance(double until_us) {
    std::size_t kept = 0;
    for (auto const flow : active_) {
      double const ends = now_us_ + left_[flow] / rate_[flow];
      if (ends <= until_us) {
        end(flow, ends);
      } else {
        left_[flow] -= rate_[flow] * (until_us - now_us_);
        active_[kept++] = flow;
      }
    }
    active_.resize(kept);
    now_us_ = until_us;
  }

  void end(std::uint32_t flow, double us) { result_.finish_us[flow] = us + shares_.latency_us(flow); }

  MaxMinShares shares_;
  std::span<Flow const> flows_;
  std::vector<double> departs_;
  double merge_us_;
  std::vector<double> left_, rate_;
  std::vector<std::uint32_t> order_, active_;
  std::size_t next_ = 0;
  double now_us_ = 0;
  NetworkEstimate result_{};
};

}  // namespace

std::vector<double> departure_us(ClusterTopology const& topology, std::span<Flow const> flows) {
  std::vector<double> busy_until(to_size(topology.num_ranks()), 0.0);
  std::vector<double> departs;
  departs.reserve(flows.size());
  for (Flow const& flow : flows) {
    Path const path = topology.path(flow.from, flow.to);
    double& sender = busy_until[flow.from.index()];
    if (path.num_hops > 0)
      sender = std::max(sender, flow.start_us) + path.message_us * static_cast<double>(flow.messages);
    departs.push_back(path.num_hops > 0 && flow.messages > 0 ? sender : flow.start_us);
  }
  return departs;
}

NetworkEstimate FluidModel::estimate(ClusterTopology const& topology, std::span<Flow const> flows) const {
  LinkAccount account(topology);
  account.add(flows);
  NetworkEstimate estimate = Run(topology, flows, merge_fraction_ * account.lower_bound_us()).go();
  estimate.bottleneck = account.bottleneck();
  return estimate;
}

}  // namespace switchyard::sim
