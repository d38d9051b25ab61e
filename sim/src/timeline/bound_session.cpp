// SPDX-License-Identifier: Apache-2.0
// Exchanges under t0: no schedule of the same starts ends a part earlier.
#include <algorithm>
#include <limits>
#include <set>

#include "switchyard/internal/to_size.hpp"
#include "timeline/part_ledger.hpp"
#include "timeline/sessions.hpp"

namespace switchyard::sim {
namespace {

/// The starts of one exchange, and the flows that reach every rank.
struct Starts {
  std::vector<double> us;                                   // [ranks] -1 = not yet
  std::vector<int> missing;                                 // [ranks] senders and the rank itself
  std::vector<std::vector<std::uint32_t>> flows_of_rank{};  // [ranks] sent or received
  int open = 0;                                             // parts whose end is not known yet
};

struct PartEnd {
  double us = 0;
  FinishedPart part{};
  friend bool operator<(PartEnd const& a, PartEnd const& b) {
    if (a.us != b.us) return a.us < b.us;
    if (a.part.exchange != b.part.exchange) return a.part.exchange < b.part.exchange;
    return a.part.rank < b.part.rank;
  }
};

class BoundSession final : public NetworkSession {
 public:
  BoundSession(ExchangeTraffic const& traffic, ClusterTopology const& topology)
      : traffic_(traffic), topology_(topology), spans_(traffic, topology) {}

  void start(ExchangeId exchange, RankId rank, double now_us) override {
    Starts& starts = starts_of(exchange);
    Traffic const& traffic = traffic_.of(exchange);
    starts.us[rank.index()] = now_us;
    if (--starts.missing[rank.index()] == 0) end_part(exchange, rank, starts);
    for (std::size_t f = traffic.first_of_sender[rank.index()]; f < traffic.first_of_sender[rank.index() + 1]; ++f) {
      RankId const to = traffic.flows[f].to;
      if (to != rank && --starts.missing[to.index()] == 0) end_part(exchange, to, starts);
    }
    if (starts.open == 0) starts_.erase(exchange);
  }

  double next_us() override { return ends_.empty() ? std::numeric_limits<double>::infinity() : ends_.begin()->us; }

  std::vector<FinishedPart> finish_until(double now_us) override {
    std::vector<FinishedPart> finished;
    for (; !ends_.empty() && ends_.begin()->us <= now_us; ends_.erase(ends_.begin()))
      finished.push_back(ends_.begin()->part);
    return finished;
  }

  [[nodiscard]] std::vector<LinkSpan> link_spans() const override { return spans_.link_spans(); }

 private:
  Starts& starts_of(ExchangeId exchange) {
    auto const [entry, added] = starts_.try_emplace(exchange);
    Starts& starts = entry->second;
    if (!added) return starts;
    auto const ranks = to_size(traffic_.num_ranks());
    starts.us.assign(ranks, -1);
    starts.missing.assign(ranks, 1);
    starts.flows_of_rank.resize(ranks);
    starts.open = traffic_.num_ranks();
    Traffic const& traffic = traffic_.of(exchange);
    for (std::uint32_t f = 0; f < traffic.flows.size(); ++f) {
      Flow const& flow = traffic.flows[f];
      starts.flows_of_rank[flow.from.index()].push_back(f);
      if (flow.to == flow.from) continue;
      starts.flows_of_rank[flow.to.index()].push_back(f);
      ++starts.missing[flow.to.index()];
    }
    return starts;
  }

  /// All senders have started: the end of `rank`'s part is known.
  void end_part(ExchangeId exchange, RankId rank, Starts& starts) {
    --starts.open;
    Traffic const& traffic = traffic_.of(exchange);
    double first_us = starts.us[rank.index()];
    RankId latest = rank;
    for (auto const f : starts.flows_of_rank[rank.index()]) {
      RankId const from = traffic.flows[f].from;
      first_us = std::min(first_us, starts.us[from.index()]);
      if (starts.us[from.index()] > starts.us[latest.index()]) latest = from;
    }
    LinkAccount account(topology_);
    for (auto const f : starts.flows_of_rank[rank.index()]) {
      Flow flow = traffic.flows[f];
      flow.start_us = starts.us[flow.from.index()] - first_us;
      account.add(flow);
    }
    double const end_us = std::max(starts.us[latest.index()], first_us + account.lower_bound_us());
    ends_.insert({end_us, {exchange, rank, latest}});
    count_sends(exchange, rank, starts, end_us);
  }

  void count_sends(ExchangeId exchange, RankId rank, Starts const& starts, double end_us) {
    for (auto const f : starts.flows_of_rank[rank.index()]) {
      Flow const& flow = traffic_.of(exchange).flows[f];
      if (flow.from != rank) continue;
      Path const path = topology_.path(flow.from, flow.to);
      for (LinkId const link : path.links())
        spans_.add_span(exchange, topology_.class_of(link), starts.us[rank.index()], end_us, flow.bytes);
    }
  }

  ExchangeTraffic const& traffic_;
  ClusterTopology const& topology_;
  PartLedger spans_;
  std::map<ExchangeId, Starts> starts_;
  std::set<PartEnd> ends_;
};

}  // namespace

std::unique_ptr<NetworkSession> make_bound_session(ExchangeTraffic const& traffic, ClusterTopology const& topology) {
  return std::make_unique<BoundSession>(traffic, topology);
}

}  // namespace switchyard::sim
