// SPDX-License-Identifier: Apache-2.0
// Laws of timelines on random graphs over random clusters.
//
// Worked example of "no faster than its resources": two tasks of 3 us and 4 us on one stream end at 7 or later,
// whatever else runs.
#include <doctest/doctest.h>

#include <algorithm>

#include "support/draw.hpp"
#include "switchyard/sim/moe_timeline.hpp"
#include "switchyard/sim/plan_cost.hpp"
#include "switchyard/sim/timeline_summary.hpp"

using namespace switchyard;
using namespace switchyard::sim;
using support::Draw;

namespace {

constexpr int kCases = 120;
constexpr double kSlack = 1e-9;

ClusterTopology random_cluster(Draw& draw) {
  ClusterSpec spec;
  spec.name = "random";
  spec.nodes = 1 + draw.below(3);
  spec.gpus_per_node = 1 + draw.below(3);
  spec.intra_node.gpu_gb_per_s = draw.real(1, 10);
  spec.intra_node.peer_gb_per_s = spec.intra_node.gpu_gb_per_s * draw.real(0.3, 1);
  spec.intra_node.latency_us = draw.real(0, 2);
  spec.intra_node.message_us = draw.real(0, 0.2);
  spec.network = {spec.gpus_per_node, draw.real(0.2, 2),     draw.real(0, 5), 0.1, true, 1,
                  draw.real(0.2, 4),  NetworkRouting::direct};
  return ClusterTopology(spec);
}

TrafficPhase random_phase(Draw& draw, int ranks) {
  TrafficPhase phase{"exchange", {}};
  for (int i = 0, count = draw.below(3 * ranks); i < count; ++i)
    phase.flows.push_back({RankId(draw.below(ranks)), RankId(draw.below(ranks)), draw.below(20000), 1});
  return phase;
}

std::vector<double> random_times(Draw& draw, int ranks) {
  std::vector<double> us;
  for (int rank = 0; rank < ranks; ++rank) us.push_back(draw.below(4) == 0 ? 0 : draw.real(0, 20));
  return us;
}

MoeTimelineSpec random_spec(Draw& draw, int ranks) {
  MoeTimelineSpec spec;
  spec.ranks = ranks;
  spec.steps = 1 + draw.below(2);
  spec.layers = 1 + draw.below(3);
  spec.batches = 1 + draw.below(2);
  for (int i = 0, works = 1 + draw.below(2); i < works; ++i) {
    BatchWork work{{random_phase(draw, ranks)}, random_times(draw, ranks), {random_phase(draw, ranks)}};
    if (draw.below(2) == 0) work.dispatch.push_back(random_phase(draw, ranks));
    spec.works.push_back(std::move(work));
  }
  spec.attention_us = draw.real(0, 10);
  auto const shared = draw.below(2) == 0 ? alltoall_overlap() : flex_overlap();
  spec.shared_schedule = {shared.begin(), shared.end()};
  spec.shared_expert_us = draw.below(2) == 0 ? 0 : draw.real(0, 10);
  spec.sm_share = draw.below(2) == 0 ? 0 : 0.25;
  for (int i = 0, moves = draw.below(3); i < moves; ++i)
    spec.moves.push_back({"layer " + std::to_string(i), random_phase(draw, ranks).flows, random_times(draw, ranks)});
  return spec;
}

Timeline run(TaskGraph const& graph, ClusterTopology const& topology, Fidelity fidelity) {
  return run_timeline(graph, topology, *make_network_model(fidelity, {.chunk_bytes = 4096}));
}

/// The order of streams, what waits, and that a part of an exchange begins with its rank.
void check_order(TaskGraph const& graph, Timeline const& timeline) {
  std::vector<double> free(graph.streams().size(), 0.0);
  for (TaskId task(0); task.index() < timeline.tasks.size(); ++task) {
    TaskTime const& time = timeline.tasks[task.index()];
    if (!time.ran()) continue;
    double& stream = free[graph.tasks()[task.index()].stream.index()];
    CHECK(time.start_us >= stream);
    CHECK(time.end_us >= time.start_us);
    stream = time.end_us;
    for (TaskId const before : graph.after(task)) CHECK(time.start_us >= timeline.tasks[before.index()].end_us);
  }
}

/// Longest chain of work and of every rank's own bytes, by plain loops over tasks in order of addition.
double chain_us(TaskGraph const& graph, Timeline const& timeline) {
  std::vector<double> end(timeline.tasks.size(), 0.0), free(graph.streams().size(), 0.0);
  double longest = 0;
  for (TaskId task(0); task.index() < end.size(); ++task) {
    if (!timeline.tasks[task.index()].ran()) continue;
    Task const& one = graph.tasks()[task.index()];
    double start = free[one.stream.index()];
    for (TaskId const before : graph.after(task)) start = std::max(start, end[before.index()]);
    end[task.index()] = free[one.stream.index()] = start + one.work_us;
    longest = std::max(longest, end[task.index()]);
  }
  return longest;
}

/// Bytes times links that flows cross.
std::int64_t link_bytes(ClusterTopology const& topology, std::vector<TrafficPhase> const& phases) {
  std::int64_t sum = 0;
  for (TrafficPhase const& phase : phases)
    for (Flow const& flow : phase.flows) {
      Path const path = topology.path(flow.from, flow.to);
      sum += flow.bytes * static_cast<std::int64_t>(path.links().size());
    }
  return sum;
}

/// Two works of one dispatch, before and after a move, for every layer; one move per layer.
MoeTimelineSpec random_moving_spec(Draw& draw, int ranks) {
  MoeTimelineSpec spec;
  spec.ranks = ranks;
  spec.steps = 2 + draw.below(5);
  spec.layers = 1 + draw.below(3);
  spec.batches = 1 + draw.below(2);
  spec.attention_us = draw.real(0, 10);
  for (int layer = 0; layer < spec.layers; ++layer) {
    for (int i = 0; i < 2; ++i)
      spec.works.push_back({{random_phase(draw, ranks)}, random_times(draw, ranks), {random_phase(draw, ranks)}});
    for (int batch = 0; batch < spec.batches; ++batch) spec.choices.push_back({2 * layer, 2 * layer + 1});
    spec.moves.push_back(
        {"layer " + std::to_string(layer), random_phase(draw, ranks).flows, random_times(draw, ranks), layer});
  }
  return spec;
}

}  // namespace

TEST_CASE("no timeline beats its chains, its streams or its links; the path adds up") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    auto const topology = random_cluster(draw);
    auto spec = random_spec(draw, topology.num_ranks());
    spec.overlap = draw.below(4) > 0;
    auto const graph = moe_task_graph(spec);
    for (auto const fidelity : {Fidelity::t0, Fidelity::t1, Fidelity::t2}) {
      auto const timeline = run(graph, topology, fidelity);
      auto const summary = summarize(graph, timeline);
      double const limit = timeline.makespan_us * (1 + kSlack) + kSlack;
      check_order(graph, timeline);
      CHECK(chain_us(graph, timeline) <= limit);
      std::vector<double> busy(graph.streams().size(), 0.0);
      for (TaskId task(0); task.index() < timeline.tasks.size(); ++task)
        if (timeline.tasks[task.index()].ran())
          busy[graph.tasks()[task.index()].stream.index()] +=
              timeline.tasks[task.index()].end_us - timeline.tasks[task.index()].start_us;
      for (auto const& stream : summary.streams) {
        CHECK(total_us(stream) == doctest::Approx(busy[stream.stream.index()]));
        CHECK(total_us(stream) <= limit);
      }
      LinkAccount account(topology);
      for (TaskId task(0); task.index() < timeline.tasks.size(); ++task) {
        auto const exchange = graph.tasks()[task.index()].exchange;
        if (!timeline.tasks[task.index()].ran() || !exchange.valid()) continue;
        Traffic const& traffic = graph.traffic()[graph.exchanges()[exchange.index()].traffic.index()];
        if (graph.rank_of(task).value() == 0) account.add(traffic.flows);
      }
      if (fidelity != Fidelity::t0)  // t0 times exchanges as if each were alone
        for (int link = 0; link < topology.num_links(); ++link)
          CHECK(static_cast<double>(account.link_bytes(LinkId(link))) / topology.bytes_per_us(LinkId(link)) <= limit);
      double path = 0, at = 0;
      for (auto const& piece : summary.critical_path) {
        CHECK(piece.start_us == at);
        at = piece.end_us;
      }
      for (double const us : summary.path_us) path += us;
      CHECK(path == doctest::Approx(timeline.makespan_us));
    }
  }
}

TEST_CASE("bytes on the links are those of the traffic, and a class's intervals do not overlap") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    auto const topology = random_cluster(draw);
    auto spec = random_spec(draw, topology.num_ranks());
    spec.overlap = false;
    auto const graph = moe_task_graph(spec);
    LinkAccount account(topology);
    for (Exchange const& exchange : graph.exchanges()) account.add(graph.traffic()[exchange.traffic.index()].flows);
    std::vector<std::int64_t> bytes(kNumLinkClasses, 0);
    for (int link = 0; link < topology.num_links(); ++link)
      bytes[static_cast<std::size_t>(topology.class_of(LinkId(link)))] += account.link_bytes(LinkId(link));
    for (auto const fidelity : {Fidelity::t0, Fidelity::t1}) {
      auto const timeline = run(graph, topology, fidelity);
      auto left = bytes;
      for (auto const& use : summarize(graph, timeline).links) {
        CHECK(use.bytes == left[static_cast<std::size_t>(use.link_class)]);
        left[static_cast<std::size_t>(use.link_class)] = 0;
      }
      CHECK(std::count(left.begin(), left.end(), 0) == kNumLinkClasses);
      auto const intervals = link_intervals(timeline);
      for (std::size_t i = 1; i < intervals.size(); ++i)
        if (intervals[i].link_class == intervals[i - 1].link_class)
          CHECK(intervals[i].start_us >= intervals[i - 1].end_us);
    }
  }
}

TEST_CASE("t1 event by event equals t1 from the beginning of every busy period; merging keeps its estimate") {
  class Hidden final : public NetworkModel {  // no session of its own
   public:
    [[nodiscard]] Fidelity fidelity() const noexcept override { return Fidelity::t1; }
    [[nodiscard]] NetworkEstimate estimate(ClusterTopology const& topology,
                                           std::span<Flow const> flows) const override {
      return make_network_model(Fidelity::t1)->estimate(topology, flows);
    }
  };
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    auto const topology = random_cluster(draw);
    auto const graph = moe_task_graph(random_spec(draw, topology.num_ranks()));
    auto const events = run(graph, topology, Fidelity::t1);
    auto const again = run_timeline(graph, topology, Hidden());
    for (std::size_t task = 0; task < events.tasks.size(); ++task)
      CHECK(events.tasks[task].end_us == doctest::Approx(again.tasks[task].end_us).epsilon(1e-6));
    CHECK(events.merge_error_us == 0);
    auto const merged = run_timeline(graph, topology, *make_network_model(Fidelity::t1, {.merge_fraction = 0.02}));
    if (graph.background().empty())  // a look that comes too early by a rounding changes the plan
      CHECK(std::abs(merged.makespan_us - events.makespan_us) <= merged.merge_error_us + kSlack);
  }
}

TEST_CASE("t0 ends no task after t1 where exchanges take no SMs and nothing waits for a look at moves") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    auto const topology = random_cluster(draw);
    auto spec = random_spec(draw, topology.num_ranks());
    spec.sm_share = 0;
    spec.moves.clear();
    auto const graph = moe_task_graph(spec);
    auto const bound = run(graph, topology, Fidelity::t0), fluid = run(graph, topology, Fidelity::t1);
    for (std::size_t task = 0; task < bound.tasks.size(); ++task)
      CHECK(bound.tasks[task].end_us <= fluid.tasks[task].end_us * (1 + kSlack) + kSlack);
  }
}

TEST_CASE("alternating batches are never slower than in turn when ranks are alike and links are not shared") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    ClusterSpec cluster = cluster_preset("dgx-h100", 1);
    cluster.gpus_per_node = 4;
    cluster.network = {};
    ClusterTopology const topology(cluster);
    MoeTimelineSpec spec = random_spec(draw, 4);
    spec.moves.clear();
    spec.sm_share = 0;
    TrafficPhase ring{"ring", {}};
    for (int rank = 0; rank < 4; ++rank)
      ring.flows.push_back({RankId(rank), RankId((rank + 1) % 4), 1000 + draw.below(9000)});
    for (auto& work : spec.works) {
      work.dispatch = {ring};
      work.combine = {ring};
      work.experts_us.assign(4, draw.real(0, 20));
    }
    auto const overlapped = run(moe_task_graph(spec), topology, Fidelity::t1);
    spec.overlap = false;
    auto const serial = run(moe_task_graph(spec), topology, Fidelity::t1);
    CHECK(overlapped.makespan_us <= serial.makespan_us * (1 + kSlack));
  }
}

TEST_CASE("with barriers and one stream a timeline takes as long as its phases one by one") {
  for (std::uint64_t seed = 1; seed <= kCases; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    auto const topology = random_cluster(draw);
    MoeTimelineSpec spec;
    spec.ranks = topology.num_ranks();
    spec.works = {{{random_phase(draw, spec.ranks)}, random_times(draw, spec.ranks), {random_phase(draw, spec.ranks)}}};
    spec.overlap = false;
    spec.barriers = true;
    for (auto const fidelity : {Fidelity::t0, Fidelity::t1, Fidelity::t2}) {
      auto const model = make_network_model(fidelity, {.chunk_bytes = 4096});
      std::vector<TrafficPhase> const phases{spec.works[0].dispatch[0], spec.works[0].combine[0]};
      double const experts = *std::max_element(spec.works[0].experts_us.begin(), spec.works[0].experts_us.end());
      double const expected = cost_of(topology, phases, *model).time_us + experts;
      double const got = run_timeline(moe_task_graph(spec), topology, *model).makespan_us;
      if (fidelity == Fidelity::t0) {
        CHECK(got <= expected * (1 + kSlack));  // a rank's own bound is no larger than that of all
      } else {
        CHECK(got == doctest::Approx(expected));
      }
    }
  }
}

TEST_CASE("every step sends what the maps committed before it say") {
  int changed = 0;
  for (std::uint64_t seed = 1; seed <= kCases / 3; ++seed) {
    CAPTURE(seed);
    Draw draw(seed);
    auto const topology = random_cluster(draw);
    auto const spec = random_moving_spec(draw, topology.num_ranks());
    auto const graph = moe_task_graph(spec);
    for (auto const fidelity : {Fidelity::t0, Fidelity::t1, Fidelity::t2}) {
      auto const timeline = run(graph, topology, fidelity);
      auto const& committed = timeline.committed_at;
      std::int64_t expected = 0, sent = 0;
      for (int step = 0; step < spec.steps; ++step)
        for (std::size_t layer = 0; layer < spec.moves.size(); ++layer) {
          bool const moved = layer < committed.size() && committed[layer] < step;
          BatchWork const& work = spec.works[2 * layer + (moved ? 1 : 0)];
          expected += spec.batches * (link_bytes(topology, work.dispatch) + link_bytes(topology, work.combine));
          changed += moved ? 1 : 0;
        }
      // The moves that were committed, and one more that had begun by the end, on some ranks or on all.
      std::vector<TrafficPhase> moves;
      for (std::size_t move = 0; move < std::min(spec.moves.size(), committed.size() + 1); ++move)
        moves.push_back({"move", spec.moves[move].flows});
      for (LinkSpan const& span : timeline.links) sent += span.bytes;
      std::int64_t const all = expected + link_bytes(topology, moves);
      if (!moves.empty() && committed.size() < spec.moves.size()) moves.pop_back();
      CHECK(sent <= all);
      CHECK(sent >= expected + link_bytes(topology, moves));
    }
  }
  CHECK(changed > kCases / 3);
}

TEST_CASE("same graph, same bits") {
  Draw draw(3);
  auto const topology = random_cluster(draw);
  auto const graph = moe_task_graph(random_spec(draw, topology.num_ranks()));
  for (auto const fidelity : {Fidelity::t0, Fidelity::t1, Fidelity::t2}) {
    auto const first = run(graph, topology, fidelity), second = run(graph, topology, fidelity);
    for (std::size_t task = 0; task < first.tasks.size(); ++task) {
      CHECK(first.tasks[task].start_us == second.tasks[task].start_us);
      CHECK(first.tasks[task].end_us == second.tasks[task].end_us);
    }
  }
}
