// SPDX-License-Identifier: Apache-2.0
#include "network/chunk_model.hpp"

#include <algorithm>
#include <map>
#include <queue>
#include <set>

#include "network/fluid_model.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {
namespace {

struct FlowState {
  Path path{};
  std::int64_t bytes_to_send = 0;
  std::int64_t bytes_to_arrive = 0;
  int under_way = 0;
  bool on_channel = false;  ///< a chunk passes the pair's own limit, a first link of this flow alone
};

/// What a rank sends with: channels that each take one chunk of one flow, flows in turn.
struct SenderState {
  int busy = 0;
  std::uint32_t last_flow = 0;
  std::set<std::uint32_t> waiting{};
};

/// Chunks of one flow that wait at a link, oldest first: chunks of a flow are equal but for the last one.
struct WaitingChunks {
  std::queue<std::int64_t> bytes{};
};

struct LinkQueue {
  std::map<std::uint32_t, WaitingChunks> flows{};  ///< by flow number, none empty
  std::uint32_t last_flow = 0;                     ///< whose turn it was
  bool busy = false;
};

enum class EventKind : std::uint8_t { flow_starts, chunk_leaves, link_done };

/// Ordered by time, then by number of creation, so that a run never depends on the heap's mood.
struct Event {
  double us = 0;
  std::uint64_t number = 0;
  EventKind kind = EventKind::chunk_leaves;
  std::uint32_t flow = 0;
  int hop = 0;
  std::int64_t bytes = 0;
};
struct Later {
  bool operator()(Event const& a, Event const& b) const { return a.us != b.us ? a.us > b.us : a.number > b.number; }
};

class Run {
 public:
  Run(ClusterTopology const& topology, std::span<Flow const> flows, NetworkModelOptions const& options)
      : topology_(topology),
        flow_list_(flows),
        options_(options),
        links_(to_size(topology.num_links())),
        senders_(to_size(topology.num_ranks())) {
    auto const departs = departure_us(topology, flows);
    result_.finish_us = departs;
    for (std::uint32_t f = 0; f < flows.size(); ++f) {
      FlowState state;
      state.path = topology.path(flows[f].from, flows[f].to);
      state.bytes_to_send = state.bytes_to_arrive = state.path.num_hops > 0 ? flows[f].bytes : 0;
      flows_.push_back(state);
      result_.finish_us[f] += state.path.latency_us;
      if (state.bytes_to_send > 0) push({departs[f], 0, EventKind::flow_starts, f, 0, 0});
    }
  }

  NetworkEstimate go() {
    while (!events_.empty()) {
      Event const event = events_.top();
      events_.pop();
      ++result_.events;
      if (event.kind == EventKind::flow_starts) want_channel(event.flow, event.us);
      if (event.kind == EventKind::chunk_leaves) leave(event);
      if (event.kind == EventKind::link_done) done(event);
    }
    for (double const us : result_.finish_us) result_.makespan_us = std::max(result_.makespan_us, us);
    return std::move(result_);
  }

 private:
  void push(Event event) {
    event.number = next_number_++;
    events_.push(event);
  }

  [[nodiscard]] SenderState& sender_of(std::uint32_t flow) { return senders_[flow_list_[flow].from.index()]; }

  /// Lets the flow send its next chunk when window and channels allow it.
  void want_channel(std::uint32_t flow, double now_us) {
    FlowState const& state = flows_[flow];
    if (state.bytes_to_send == 0 || state.on_channel || state.under_way >= options_.window_chunks) return;
    sender_of(flow).waiting.insert(flow);
    fill_channels(sender_of(flow), now_us);
  }

  void fill_channels(SenderState& sender, double now_us) {
    int const channels = options_.channels_per_rank;
    while (!sender.waiting.empty() && (channels == 0 || sender.busy < channels)) {
      auto turn = sender.waiting.upper_bound(sender.last_flow);
      if (turn == sender.waiting.end()) turn = sender.waiting.begin();
      sender.last_flow = *turn;
      sender.waiting.erase(turn);
      ++sender.busy;
      send_chunk(sender.last_flow, now_us);
    }
  }

  void send_chunk(std::uint32_t flow, double now_us) {
    FlowState& state = flows_[flow];
    std::int64_t const bytes = std::min(options_.chunk_bytes, state.bytes_to_send);
    state.bytes_to_send -= bytes;
    state.on_channel = true;
    ++state.under_way;
    double rate = state.path.peer_bytes_per_us;
    if (options_.channel_gb_per_s > 0) rate = std::min(rate, options_.channel_gb_per_s * kBytesPerUsOfGbPerS);
    push({now_us + static_cast<double>(bytes) / rate, 0, EventKind::chunk_leaves, flow, 0, bytes});
  }

  void leave(Event const& event) {
    flows_[event.flow].on_channel = false;
    --sender_of(event.flow).busy;
    enqueue(event.flow, 0, event.bytes, event.us);
    want_channel(event.flow, event.us);
    fill_channels(sender_of(event.flow), event.us);
  }

  void enqueue(std::uint32_t flow, int hop, std::int64_t bytes, double us) {
    LinkId const link = flows_[flow].path.hops[to_size(hop)];
    links_[link.index()].flows[flow].bytes.push(bytes);
    serve(link, us);
  }

  [[nodiscard]] int hop_of(std::uint32_t flow, LinkId link) const {
    auto const hops = flows_[flow].path.links();
    return static_cast<int>(std::find(hops.begin(), hops.end(), link) - hops.begin());
  }

  /// Starts the next chunk of an idle link: of the first waiting flow after the one that was served last.
  void serve(LinkId link, double us) {
    LinkQueue& queue = links_[link.index()];
    if (queue.busy || queue.flows.empty()) return;
    auto turn = queue.flows.upper_bound(queue.last_flow);
    if (turn == queue.flows.end()) turn = queue.flows.begin();
    std::uint32_t const flow = turn->first;
    std::int64_t const bytes = turn->second.bytes.front();
    turn->second.bytes.pop();
    if (turn->second.bytes.empty()) queue.flows.erase(turn);
    queue.last_flow = flow;
    queue.busy = true;
    double const takes_us = static_cast<double>(bytes) / topology_.bytes_per_us(link);
    push({us + takes_us, 0, EventKind::link_done, flow, hop_of(flow, link), bytes});
  }

  void done(Event const& event) {
    FlowState& state = flows_[event.flow];
    LinkId const link = state.path.hops[to_size(event.hop)];
    links_[link.index()].busy = false;
    if (event.hop + 1 < state.path.num_hops) {
      enqueue(event.flow, event.hop + 1, event.bytes, event.us);
    } else {
      arrive(event);
    }
    serve(link, event.us);
  }

  void arrive(Event const& event) {
    FlowState& state = flows_[event.flow];
    --state.under_way;
    state.bytes_to_arrive -= event.bytes;
    if (state.bytes_to_arrive == 0) result_.finish_us[event.flow] = event.us + state.path.latency_us;
    want_channel(event.flow, event.us);
  }

  ClusterTopology const& topology_;
  std::span<Flow const> flow_list_;
  NetworkModelOptions const& options_;
  std::vector<LinkQueue> links_;
  std::vector<SenderState> senders_;
  std::vector<FlowState> flows_;
  std::priority_queue<Event, std::vector<Event>, Later> events_;
  std::uint64_t next_number_ = 0;
  NetworkEstimate result_{};
};

}  // namespace

NetworkEstimate ChunkModel::estimate(ClusterTopology const& topology, std::span<Flow const> flows) const {
  SWITCHYARD_REQUIRE(topology.num_ranks() <= kMaxRanks, unsupported,
                     "chunks are simulated for up to {} ranks, the cluster has {}: use fidelity t1", kMaxRanks,
                     topology.num_ranks());
  LinkAccount account(topology);
  account.add(flows);
  NetworkEstimate estimate = Run(topology, flows, options_).go();
  estimate.bottleneck = account.bottleneck();
  return estimate;
}

}  // namespace switchyard::sim
