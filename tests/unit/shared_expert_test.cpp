// SPDX-License-Identifier: Apache-2.0
// The shared expert's state machine, its overlap schedules, and an executor that runs one around a real dispatch.
//
// Worked example of the run: tp 2 x ep 2, top-1, experts that return their rows, a shared expert whose TP shard p
// multiplies by (p + 2) and then by 3. Every token x becomes x + 3 * (2 + 3) * x = 16 x, whenever its stages run.
#include "switchyard/dispatch/shared_expert.hpp"

#include <doctest/doctest.h>

#include "support/error_text.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"

using namespace switchyard;
using support::contains;
using support::error_text;
using Stage = SharedExpertStage;
using Event = OverlapEvent;

namespace {

constexpr Stage kStages[] = {Stage::pre_forward_comm, Stage::fc1, Stage::fc2, Stage::post_forward_comm, Stage::output};
constexpr Event kEvents[] = {Event::metadata_ready, Event::dispatch_issued, Event::dispatch_done, Event::combine_issued,
                             Event::combine_done};
constexpr std::int64_t kTokens = 3;
constexpr std::int64_t kHidden = 2;
using Floats = std::vector<float>;

std::vector<OverlapPoint> listed(std::span<OverlapPoint const> schedule) {
  return {schedule.begin(), schedule.end()};
}

/// A shared expert sharded over TP whose stages do what their names say.
class ShardedExpert {
 public:
  ShardedExpert(Communicator& comm, ExpertParallelGrid grid, Floats& tokens, Floats& output)
      : comm_(comm), grid_(grid), tokens_(tokens), output_(output) {}

  void run(Stage stage) {
    log.push_back(stage);
    switch (stage) {
      case Stage::pre_forward_comm: rows_ = exchange(tokens_); break;
      case Stage::fc1: scale(static_cast<float>(grid_.tp_rank_of(comm_.rank()) + 2)); break;
      case Stage::fc2: scale(3.0F); break;
      case Stage::post_forward_comm: rows_ = sum_of_partials(exchange(rows_)); break;
      case Stage::output:
        for (std::size_t i = 0; i < output_.size(); ++i) output_[i] += rows_[i];
        break;
    }
  }

  std::vector<Stage> log;

 private:
  void scale(float factor) {
    for (auto& value : rows_) value *= factor;
  }
  /// What all ranks of the world hold, rank ascending.
  Floats exchange(Floats const& mine) {
    Floats all(mine.size() * static_cast<std::size_t>(comm_.size()));
    auto const bytes = std::as_bytes(std::span(mine));
    std::vector<std::int64_t> const sizes(static_cast<std::size_t>(comm_.size()),
                                          static_cast<std::int64_t>(bytes.size()));
    comm_.all_gather_v(bytes, std::as_writable_bytes(std::span(all)), sizes);
    return all;
  }
  /// Partials of this rank's tokens: every rank of the TP group holds one for the tokens of the whole world.
  Floats sum_of_partials(Floats const& all) {
    std::size_t const own = static_cast<std::size_t>(kTokens * kHidden);
    std::size_t const world = own * static_cast<std::size_t>(comm_.size());
    Floats sum(own, 0.0F);
    for (int tp = 0; tp < grid_.tp; ++tp) {
      auto const peer = grid_.rank_of(grid_.ep_rank_of(comm_.rank()), tp).index();
      for (std::size_t i = 0; i < own; ++i) sum[i] += all[peer * world + comm_.rank().index() * own + i];
    }
    return sum;
  }

  Communicator& comm_;
  ExpertParallelGrid grid_;
  Floats& tokens_;
  Floats& output_;
  Floats rows_;
};

float element(int rank, std::size_t i) {
  return static_cast<float>(rank * 100) + static_cast<float>(i) - 7.0F;
}

/// One rank of the test executor: a dispatch and combine with the shared expert's stages at their events.
std::vector<Stage> run_rank(Communicator& comm, std::span<OverlapPoint const> schedule, Floats& output) {
  AllToAllConfig config;
  config.grid = {2, 2};
  auto const routing = RoutingMap::from_topk(kTokens, 4, 1, {3, 0, 2}, {1, 1, 1});
  auto const plan = plan_alltoall(comm, config, routing, ExpertPlacement::contiguous(1, 4, 2), 0);
  Floats tokens(static_cast<std::size_t>(kTokens * kHidden));
  for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = element(comm.rank().value(), i);
  Floats rows(static_cast<std::size_t>(plan.num_expert_rows() * kHidden), -12345.0F);
  output.assign(tokens.size(), -12345.0F);

  ShardedExpert expert(comm, config.grid, tokens, output);
  SharedExpertSequence shared(listed(schedule), [&](Stage stage) { expert.run(stage); });
  cpu::CpuExecutor executor(comm);
  shared.at(Event::metadata_ready);
  shared.at(Event::dispatch_issued);
  executor.dispatch(plan, ConstTensorView::matrix(std::span<float const>(tokens), kTokens, kHidden),
                    TensorView::matrix(std::span(rows), plan.num_expert_rows(), kHidden));
  shared.at(Event::dispatch_done);
  for (auto& value : rows) value *= 0.5F;  // two TP ranks hold half of an expert's result each
  shared.at(Event::combine_issued);
  executor.combine(plan, CombineRecipe::source_slot_order(),
                   ConstTensorView::matrix(std::span<float const>(rows), plan.num_expert_rows(), kHidden),
                   routing.weights(), TensorView::matrix(std::span(output), kTokens, kHidden));
  shared.at(Event::combine_done);
  REQUIRE(shared.idle());
  return expert.log;
}

}  // namespace

TEST_CASE("the stages come in one order; every other call is refused and changes nothing") {
  for (int done = 0; done < kSharedExpertStages; ++done) {
    for (Stage const wrong : kStages) {
      SharedExpertState state;
      for (int i = 0; i < done; ++i) state.start(kStages[i]);
      CHECK(state.idle() == (done == 0));
      CHECK(state.next() == kStages[done]);
      if (wrong == state.next()) continue;
      auto const text = error_text(ErrorCode::invalid_argument, [&] { state.start(wrong); });
      CHECK(
          contains(text, std::string(to_string(wrong)) + " was started, but " + std::string(to_string(state.next()))));
      CHECK(state.next() == kStages[done]);
    }
  }
  SharedExpertState state;
  for (int pass = 0; pass < 2; ++pass) {
    for (Stage const stage : kStages) state.start(stage);
    CHECK(state.idle());
  }
  state.start(Stage::pre_forward_comm);
  state.reset();
  CHECK(state.idle());
}

TEST_CASE("named schedules are sound; broken ones are explained") {
  for (auto const schedule : {alltoall_overlap(), flex_overlap(), no_overlap()}) CHECK(problems_in(schedule).empty());
  CHECK(alltoall_overlap()[1] == OverlapPoint{Event::dispatch_issued, Stage::fc1});
  CHECK(flex_overlap()[0] == OverlapPoint{Event::dispatch_done, Stage::pre_forward_comm});
  CHECK(no_overlap()[3] == OverlapPoint{Event::metadata_ready, Stage::post_forward_comm});

  auto schedule = listed(alltoall_overlap());
  std::swap(schedule[1], schedule[2]);
  CHECK(problems_in(schedule).size() == 3);  // two stages out of place, and an event that goes back
  schedule = listed(alltoall_overlap());
  schedule.pop_back();
  CHECK(problems_in(schedule).size() == 1);
  schedule = listed(alltoall_overlap());
  schedule[4].event = Event::dispatch_issued;
  auto const text = error_text(ErrorCode::invalid_argument, [&] { SharedExpertSequence(schedule, [](Stage) {}); });
  CHECK(contains(text, "stage 4 waits for dispatch_issued, which is before combine_issued"));
}

TEST_CASE("events are reported once each and in order") {
  std::vector<Stage> ran;
  SharedExpertSequence shared(listed(alltoall_overlap()), [&](Stage stage) { ran.push_back(stage); });
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { shared.at(Event::dispatch_issued); }),
                 "dispatch_issued was reported, but metadata_ready is due"));
  CHECK(ran.empty());
  shared.at(Event::metadata_ready);
  CHECK_FALSE(shared.idle());
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { shared.at(Event::metadata_ready); }), "is due"));
  for (int i = 1; i < kOverlapEvents; ++i) shared.at(kEvents[i]);
  CHECK(shared.idle());
  CHECK(ran == std::vector<Stage>(std::begin(kStages), std::end(kStages)));
  shared.at(Event::metadata_ready);
  shared.reset();
  CHECK(shared.idle());
}

TEST_CASE("a stage that fails leaves the sequence refusing until it is reset") {
  SharedExpertSequence shared(listed(no_overlap()), [](Stage stage) {
    if (stage == Stage::fc2) throw std::runtime_error("out of paper");
  });
  CHECK_THROWS_WITH(shared.at(Event::metadata_ready), "out of paper");
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { shared.at(Event::metadata_ready); }),
                 "pre_forward_comm was started, but post_forward_comm is due"));
  shared.reset();
  CHECK(shared.idle());
}

TEST_CASE("a run around a dispatch gives routed + shared under every schedule") {
  auto const scheduler = cpu::make_cooperative_scheduler(3);
  for (auto const schedule : {alltoall_overlap(), flex_overlap(), no_overlap()}) {
    std::vector<Floats> outputs(4);
    std::vector<std::vector<Stage>> logs(4);
    cpu::run_ranks(*scheduler, 4, {}, [&](Communicator& comm) {
      logs[comm.rank().index()] = run_rank(comm, schedule, outputs[comm.rank().index()]);
    });
    for (int rank = 0; rank < 4; ++rank) {
      auto const& output = outputs[static_cast<std::size_t>(rank)];
      CHECK(logs[static_cast<std::size_t>(rank)] == std::vector<Stage>(std::begin(kStages), std::end(kStages)));
      REQUIRE(output.size() == static_cast<std::size_t>(kTokens * kHidden));
      for (std::size_t i = 0; i < output.size(); ++i) CHECK(output[i] == 16.0F * element(rank, i));
    }
  }
}
