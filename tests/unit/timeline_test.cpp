// SPDX-License-Identifier: Apache-2.0
// Timelines of two ranks whose ports carry 1,000 bytes per us, no latency.
//
// Worked example: attention 4 us; every rank sends 2,000 bytes to the other in dispatch and combine, 2 us each; experts
// take 3 us on rank 0 and 5 us on rank 1. One batch: attention 0-4, dispatch 4-6, experts 6-9 and 6-11, combine: rank 0
// sends 9-11, rank 1 11-13, so rank 0's part lasts from 9 to 13; the end is 13, two batches in turn take 26.
// Two batches that alternate: attention 0-4 and 4-8; dispatch 4-6 and 8-10; experts 8-11 and 11-14 on rank 0, 8-13 and
// 13-18 on rank 1; combine of the first batch 11-15 and 13-15, of the second 15-20 and 18-20. The end is 20.
//
// Worked example of a map that changes: attention 4 us; on the old map rank 0 sends 6,000 bytes to rank 1, experts take
// 1 and 9 us; on the new one it is the worked example above. Old steps: dispatch 4-10, experts 10-11 and 10-19, combine
// 19-25. Behind them 6,000 bytes move from rank 0 to rank 1, commits take 2 us on rank 0. From 4 on move and dispatch
// halve the port: the move ends at 8, the dispatch at 12, the first step at 27. Rank 0 looks at 13 (experts 12-13) and
// commits till 15, within rank 1's experts 12-21. The second step is one of the new map, 13 us: 40 in all. Serially:
// move 6, commit 2, then two steps of 13 us.
#include <doctest/doctest.h>

#include "support/error_text.hpp"
#include "switchyard/sim/chrome_trace.hpp"
#include "switchyard/sim/moe_timeline.hpp"
#include "switchyard/sim/timeline_summary.hpp"
#include "switchyard/types/error.hpp"

using namespace switchyard;
using namespace switchyard::sim;

namespace {

ClusterTopology box(double latency_us = 0) {
  ClusterSpec spec;
  spec.name = "box";
  spec.gpus_per_node = 2;
  spec.intra_node.gpu_gb_per_s = spec.intra_node.peer_gb_per_s = 1;
  spec.intra_node.latency_us = latency_us;
  return ClusterTopology(spec);
}

TrafficPhase both_ways(std::int64_t bytes) {
  return {"exchange", {{RankId(0), RankId(1), bytes}, {RankId(1), RankId(0), bytes}}};
}

MoeTimelineSpec worked_example() {
  MoeTimelineSpec spec;
  spec.ranks = 2;
  spec.works = {{{both_ways(2000)}, {3, 5}, {both_ways(2000)}}};
  spec.attention_us = 4;
  return spec;
}

Timeline run(TaskGraph const& graph, Fidelity fidelity = Fidelity::t1, double latency_us = 0) {
  return run_timeline(graph, box(latency_us), *make_network_model(fidelity, {.chunk_bytes = 10}));
}

TaskTime time_of(TaskGraph const& graph, Timeline const& timeline, std::string const& name, int rank) {
  for (TaskId task(0); task.index() < timeline.tasks.size(); ++task)
    if (graph.label_of(task).name == name && graph.rank_of(task).value() == rank) return timeline.tasks[task.index()];
  FAIL("no task " << name << " on rank " << rank);
  return {};
}

void check_time(TaskTime const& time, double start_us, double end_us) {
  CHECK(time.start_us == doctest::Approx(start_us));
  CHECK(time.end_us == doctest::Approx(end_us));
}

}  // namespace

TEST_CASE("one batch and two, worked by hand") {
  auto spec = worked_example();
  for (bool const overlap : {false, true}) {
    CAPTURE(overlap);
    spec.overlap = overlap;
    auto const graph = moe_task_graph(spec);
    auto const timeline = run(graph);
    check_time(time_of(graph, timeline, "experts", 1), 6, 11);
    check_time(time_of(graph, timeline, "combine", 0), 9, 13);
    check_time(time_of(graph, timeline, "combine", 1), 11, 13);
    CHECK(timeline.makespan_us == doctest::Approx(13));
  }
  spec.batches = 2;
  spec.overlap = false;
  CHECK(run(moe_task_graph(spec)).makespan_us == doctest::Approx(26));
  spec.overlap = true;
  auto const graph = moe_task_graph(spec);
  auto const timeline = run(graph);
  check_time(time_of(graph, timeline, "dispatch batch 1", 0), 8, 10);
  check_time(time_of(graph, timeline, "experts batch 1", 0), 11, 14);
  check_time(time_of(graph, timeline, "experts batch 1", 1), 13, 18);
  check_time(time_of(graph, timeline, "combine batch 0", 0), 11, 15);
  check_time(time_of(graph, timeline, "combine batch 1", 0), 15, 20);
  CHECK(timeline.makespan_us == doctest::Approx(20));
  auto const summary = summarize(graph, timeline);
  CHECK(summary.links.size() == 2);
  // Ports carry bytes 4-6, 8-10, 11-20 (combine of batch 0: 11-13 and 13-15, of batch 1: 15-17 and 18-20 as one span).
  CHECK(summary.links.front().busy_us == doctest::Approx(13));
  CHECK(summary.links.front().bytes == 16000);
  // Rank 1: 20 us, of which work 18, a dispatch or combine alone 18-20.
  CHECK(summary.exposed_us[1] == doctest::Approx(2));
  // Rank 1's chain: attention 8, experts 10, the last combine 2.
  using K = TaskKind;
  CHECK(summary.path_us[static_cast<std::size_t>(K::attention)] == doctest::Approx(8));
  CHECK(summary.path_us[static_cast<std::size_t>(K::experts)] == doctest::Approx(10));
  CHECK(summary.path_us[static_cast<std::size_t>(K::combine)] == doctest::Approx(2));
}

TEST_CASE("t0, t1 and t2 agree where nothing is shared") {
  for (auto const fidelity : {Fidelity::t0, Fidelity::t1, Fidelity::t2})
    CHECK(run(moe_task_graph(worked_example()), fidelity, 0.5).makespan_us == doctest::Approx(14).epsilon(0.01));
}

TEST_CASE("a shared expert hides an exchange, and moves where its schedule says") {
  auto spec = worked_example();
  spec.shared_expert_us = 3;
  auto const ends = [&](std::span<OverlapPoint const> schedule) {
    spec.shared_schedule = {schedule.begin(), schedule.end()};
    auto const graph = moe_task_graph(spec);
    return run(graph).makespan_us;
  };
  // fc1 (2 us) runs 4-6 beside the dispatch, fc2 (1 us) beside the combine.
  CHECK(ends(alltoall_overlap()) == doctest::Approx(13));
  // fc1 after the dispatch puts the experts off by 2.
  CHECK(ends(flex_overlap()) == doctest::Approx(15));
  CHECK(ends(no_overlap()) == doctest::Approx(16));
  spec.shared_schedule.pop_back();
  CHECK_THROWS_AS(moe_task_graph(spec), Error);
}

TEST_CASE("an exchange that takes half the SMs slows the work beside it") {
  // 4 us of work from 0 on, an exchange 0-2: half done after 1 us of work, the rest 2-5.
  TaskGraph graph(2);
  auto const work = graph.add_streams("work"), wire = graph.add_streams("wire");
  graph.add_work(work[0], graph.add_label(TaskKind::experts, "experts"), 4);
  graph.add_exchange(wire, graph.add_label(TaskKind::dispatch, "dispatch"), graph.add_traffic(both_ways(2000).flows),
                     0.5);
  for (auto const fidelity : {Fidelity::t0, Fidelity::t1, Fidelity::t2})
    CHECK(run(graph, fidelity).makespan_us == doctest::Approx(5).epsilon(0.01));
}

TEST_CASE("a move behind the work shares the links and is committed at a poll") {
  // Rank 0 moves 4,000 bytes to rank 1 from 0 on: alone till 4 (4,000 done), so the dispatch at 4 is not disturbed.
  auto spec = worked_example();
  spec.steps = 2;
  spec.moves = {{"layer 0", {{RankId(0), RankId(1), 4000}}, {0, 1}},
                {"layer 1", {{RankId(0), RankId(1), 1000}}, {0, 1}}};
  auto graph = moe_task_graph(spec);
  auto timeline = run(graph);
  check_time(time_of(graph, timeline, "move layer 0", 1), 0, 4);
  // The first step's work ends with the experts at 9 and 11: rank 0 looks at 9 and decides.
  check_time(time_of(graph, timeline, "commit after step 0", 0), 9, 9);
  check_time(time_of(graph, timeline, "commit after step 0", 1), 11, 12);
  // Beside the combine, 9-11; rank 1's part begins with its commit's end.
  check_time(time_of(graph, timeline, "move layer 1", 0), 9, 11);
  check_time(time_of(graph, timeline, "move layer 1", 1), 12, 12);
  CHECK(timeline.moves_committed == 2);
  // 6,000 bytes: 4,000 till 4, then half the port beside the dispatch: both end at 8, not 6.
  spec.moves.front().flows.front().bytes = 6000;
  graph = moe_task_graph(spec);
  timeline = run(graph);
  check_time(time_of(graph, timeline, "dispatch step 0", 0), 4, 8);
  check_time(time_of(graph, timeline, "move layer 0", 0), 0, 8);
  // One that arrives after the last look stays uncommitted, and its successor never starts.
  spec.moves.front().flows.front().bytes = 600000;
  graph = moe_task_graph(spec);
  timeline = run(graph);
  CHECK(timeline.moves_committed == 0);
  CHECK_FALSE(time_of(graph, timeline, "move layer 1", 0).ran());
  CHECK(time_of(graph, timeline, "move layer 0", 1).ran());
}

TEST_CASE("what is sent and computed after a commit follows the new map") {
  MoeTimelineSpec spec = worked_example();
  spec.works.push_back(
      {{{"exchange", {{RankId(0), RankId(1), 6000}}}}, {1, 9}, {{"exchange", {{RankId(1), RankId(0), 6000}}}}});
  spec.choices = {{1, 0}};
  spec.steps = 2;
  spec.moves = {{"layer 0", {{RankId(0), RankId(1), 6000}}, {2, 0}, 0}};
  auto const graph = moe_task_graph(spec);
  for (auto const fidelity : {Fidelity::t1, Fidelity::t2}) {
    auto const timeline = run(graph, fidelity);
    auto const summary = summarize(graph, timeline);
    CHECK(timeline.committed_at == std::vector<int>{0});
    REQUIRE(summary.step_end_us.size() == 2);
    CHECK(summary.step_end_us[0] == doctest::Approx(27).epsilon(0.01));
    CHECK(summary.step_end_us[1] == doctest::Approx(40).epsilon(0.01));
    CHECK(summary.links.front().bytes == 6000 + 2 * 6000 + 2 * 4000);
  }
  auto const timeline = run(graph);
  check_time(time_of(graph, timeline, "experts step 0", 1), 12, 21);
  check_time(time_of(graph, timeline, "commit after step 0", 0), 13, 15);
  check_time(time_of(graph, timeline, "dispatch step 1", 1), 31, 33);
  check_time(time_of(graph, timeline, "experts step 1", 0), 33, 36);
  spec.overlap = false;
  CHECK(run(moe_task_graph(spec)).makespan_us == doctest::Approx(6 + 2 + 2 * 13));
  // A move of a layer that the timeline does not have changes nothing, nor does a choice without a later work.
  spec.overlap = true;
  spec.moves.front().layer = 1;
  CHECK(run(moe_task_graph(spec)).makespan_us == doctest::Approx(27 + 25));
  spec.moves.front().layer = 0;
  spec.choices = {{1}};
  CHECK(run(moe_task_graph(spec)).makespan_us == doctest::Approx(27 + 25));
  // Steps of their own: the new map's work, then the old one's.
  spec.moves.clear();
  spec.choices = {{0}, {1}};
  CHECK(run(moe_task_graph(spec)).makespan_us == doctest::Approx(13 + 25));
}

// Experts of 4 us, dispatch and combine of 2 us with half the SMs, two batches, no attention. Where all of the experts
// depends on SMs: dispatches 0-2 and 2-4, experts of batch 0 2-7 (1 us of work till 4), of batch 1 7-12 beside the
// combine 7-9, the last combine 12-14. Where nothing does: experts 2-6 and 6-10, the last combine 10-12.
TEST_CASE("the part of the experts' time that depends on SMs follows the new map, too") {
  MoeTimelineSpec spec;
  spec.ranks = 2;
  spec.batches = 2;
  spec.steps = 2;
  spec.sm_share = 0.5;
  BatchWork const all{{both_ways(2000)}, {4, 4}, {both_ways(2000)}};
  BatchWork none = all;
  none.experts_sm_bound = {0, 0};
  spec.works = {all, none};
  // Nothing to send: the move has arrived at the first look, and costs nothing.
  spec.moves = {{"layer 0", {}, {0, 0}, 0}};
  auto const ends = [&](WorkChoice const& choice) {
    spec.choices = {choice, choice};
    auto const graph = moe_task_graph(spec);
    return summarize(graph, run(graph)).step_end_us;
  };
  auto const check_ends = [&](WorkChoice const& choice, double first_us, double second_us) {
    auto const us = ends(choice);
    REQUIRE(us.size() == 2);
    CHECK(us[0] == doctest::Approx(first_us));
    CHECK(us[1] == doctest::Approx(second_us));
  };
  check_ends({0}, 14, 28);
  check_ends({1}, 12, 24);
  check_ends({0, 1}, 14, 14 + 12);
  check_ends({1, 0}, 12, 12 + 14);
}

TEST_CASE("a trace file holds the worked example") {
  auto const graph = moe_task_graph(worked_example());
  std::string const trace = to_chrome_trace(graph, run(graph), box(), "a \"name\"\n\x01\xff");
  CHECK(trace == to_chrome_trace(graph, run(graph), box(), "a \"name\"\n\x01\xff"));
  CHECK(support::contains(trace, R"("name":"a \"name\"\n\u0001)"));
  CHECK(
      support::contains(trace, R"("ph":"X","name":"experts","cat":"experts","pid":1,"tid":0,"ts":6.000,"dur":5.000)"));
  CHECK(support::contains(trace, R"("ph":"X","name":"combine","cat":"link","pid":2,"tid":0,"ts":9.000,"dur":4.000)"));
  CHECK(support::contains(trace, R"("name":"thread_name","pid":2,"tid":1,"args":{"name":"gpu_in"})"));
}

TEST_CASE("a trace file keeps to its number of events with whole ranks, the critical path's first") {
  auto const graph = moe_task_graph(worked_example());
  auto const timeline = run(graph);
  // Four events a rank; the path is rank 1's.
  CHECK(traced_ranks(graph, timeline) == std::vector<int>{0, 1});
  CHECK(traced_ranks(graph, timeline, 8) == std::vector<int>{0, 1});
  CHECK(traced_ranks(graph, timeline, 7) == std::vector<int>{1});
  CHECK(traced_ranks(graph, timeline, 1) == std::vector<int>{1});
  std::string const trace = to_chrome_trace(graph, timeline, box(), "t", 7);
  CHECK(support::contains(trace, R"("ranks":2,"ranks_shown":1)"));
  CHECK_FALSE(support::contains(trace, R"("name":"rank 0")"));
  CHECK(support::contains(trace, R"("cat":"link","pid":2)"));
}

TEST_CASE("graphs that make no sense are refused") {
  auto spec = worked_example();
  auto const refused = [](MoeTimelineSpec const& bad, char const* text) {
    auto const said = support::error_text(ErrorCode::invalid_argument, [&] { return moe_task_graph(bad); });
    CAPTURE(said);
    CHECK(support::contains(said, text));
  };
  spec.attention_us = -1;
  refused(spec, "not negative");
  spec = worked_example();
  spec.works.front().experts_us.pop_back();
  refused(spec, "experts' times on 2 ranks");
  spec = worked_example();
  spec.works.clear();
  refused(spec, "nothing to put on a timeline");
  spec = worked_example();
  spec.works.front().dispatch.front().flows.push_back({RankId(0), RankId(2), 1});
  refused(spec, "leaves the timeline of 2 ranks");
  spec = worked_example();
  spec.choices = {{0}};
  spec.layers = 2;
  refused(spec, "give whole steps");
  spec = worked_example();
  spec.choices = {{0, 1}};
  refused(spec, "does work 0, after a move 1, of 1 works");
  spec = worked_example();
  spec.works.push_back(spec.works.front());
  spec.works.back().dispatch.clear();
  spec.choices = {{0, 1}};
  refused(spec, "give dispatches of one kind");
  spec = worked_example();
  spec.sm_share = 1;
  refused(spec, "less than 1");
  spec = worked_example();
  spec.steps = spec.layers = 1 << 20;
  refused(spec, "take fewer");
  TaskGraph graph(3);
  auto const stream = graph.add_stream(RankId(0), "s");
  auto const label = graph.add_label(TaskKind::experts, "e");
  TaskId const unknown(0);
  CHECK_THROWS_AS(graph.add_work(stream, label, 1, std::span(&unknown, 1)), Error);
  CHECK_THROWS_AS(graph.add_work(stream, label, 1, {}, 1.5), Error);
  CHECK(support::contains(support::error_text(ErrorCode::invalid_argument, [&] { return run(graph); }), "3 ranks"));
}
