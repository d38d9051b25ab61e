// SPDX-License-Identifier: Apache-2.0
// bench_budget_steps(): whole steps over slots of fixed size from routing on the device, call by call and as replays of
// a graph, beside steps whose splits the host reads. Slots of single rows hold 5/4 of an even share.
#include "captured_steps.hpp"
#include "drawn_group.hpp"
#include "gpu_benches.hpp"
#include "switchyard/cuda/budget_plan.hpp"
#include "switchyard/cuda/cuda_executor.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header

/// One family of steps.
struct BudgetBench {
  DispatchFamily family;
  CombineRecipe recipe;
  std::string name;
};

cuda::BudgetOptions options_of(BudgetBench const& shape, std::int64_t tokens, int ranks, bool exact_splits) {
  cuda::BudgetOptions options;
  options.planner.family = shape.family;
  options.planner.grid = {1, ranks};
  options.planner.columns = kTopK;
  options.planner.max_tokens = tokens;
  options.planner.max_expert_rows = 2 * tokens * kTopK;
  options.max_row_bytes = kRowBytes;
  options.exact_splits = exact_splits;
  options.carries_weights = shape.family == DispatchFamily::megatron_flex;
  bool const sends_singles = shape.family == DispatchFamily::megatron_alltoall;
  if (sends_singles) options.single_rows = tokens * kTopK * 5 / (4 * ranks) + kTopK;
  return options;
}

/// One rank's steps of a plan, from its routing.
class Step {
 public:
  Step(RankBench& bench, BudgetBench const& shape, RoutingMap const& routing, ExpertPlacement const& placement,
       bool exact_splits)
      : bench_(bench),
        recipe_(shape.recipe),
        count_(routing.num_tokens()),
        executor_(bench.bare),
        plan_(bench.bare, options_of(shape, count_, bench.bare.size(), exact_splits), placement, 0),
        ids_(cuda::upload(std::vector<std::int32_t>(routing.ids().begin(), routing.ids().end()), bench.stream)),
        operands_(count_, plan_.expert_rows(), bench.stream) {}

  void plan() {
    auto const* const weights = static_cast<float const*>(operands_.weights().data());
    executor_.plan(plan_, {ids_.as<std::int32_t const>(), nullptr, weights, count_}, bench_.stream);
  }
  void run() {
    plan();
    executor_.dispatch(plan_, operands_.tokens(), operands_.rows(), bench_.stream);
    cuda::CombineInputs inputs;
    inputs.weights = operands_.weights();
    executor_.combine(plan_, recipe_, operands_.rows(), inputs, operands_.out(), bench_.stream);
  }
  [[nodiscard]] cuda::BudgetTraffic check() {
    executor_.check(plan_, bench_.stream);
    return executor_.traffic(plan_, bench_.stream);
  }

 private:
  RankBench& bench_;
  CombineRecipe recipe_;
  std::int64_t count_;
  cuda::CudaExecutor executor_;
  cuda::BudgetPlan plan_;
  cuda::DeviceBuffer ids_;
  StepOperands operands_;
};

void bench_family(RankBench& bench, BudgetBench const& shape, DrawnGroup const& group, Wire const& wire) {
  std::int64_t const tokens = group.routing().num_tokens();
  double const bytes = 2 * static_cast<double>(tokens * kTopK * kRowBytes);
  for (bool const exact_splits : {false, true}) {
    Step step(bench, shape, group.routing(), group.placement(), exact_splits);
    step.run();
    cuda::BudgetTraffic const traffic = step.check();
    bool const has_peers = traffic.needed_bytes > 0;
    Fields const fields{
        {"tokens", static_cast<double>(tokens)},
        {"ranks", static_cast<double>(bench.bare.size())},
        {"moved_over_needed",
         has_peers ? static_cast<double>(traffic.moved_bytes) / static_cast<double>(traffic.needed_bytes) : 1.0}};
    std::string const name = shape.name + " " + std::string(name_of(shape.recipe)) + " T=" + std::to_string(tokens) +
                             (exact_splits ? " splits read" : " slots");
    double const floor_us = 2 * wire.copies_us;
    double const factor = bytes > 0 ? 2 * wire.bytes / bytes : 0;
    bench.board.hand_in("plan " + name, fields, 0, bench.sample([&] { step.plan(); }));
    bench.board.hand_in("planned round trip " + name, fields, bytes, bench.sample([&] { step.run(); }), floor_us,
                        factor);
    if (!exact_splits) {
      CapturedSteps const captured(bench.stream, [&] { step.run(); });
      bench.board.hand_in("planned round trip, graph, " + name, fields, bytes, bench.sample([&] { captured.launch(); }),
                          floor_us, factor);
    }
    static_cast<void>(step.check());
    bench.checked.barrier({.operation = "budgets end"});
  }
}

void bench_tokens(RankBench& bench, std::int64_t tokens) {
  DrawnGroup const group(bench, tokens);
  Wire const carried = measure_wire(bench, exchange_of(group.flex_plan()));
  Wire const single = measure_wire(bench, exchange_of(group.alltoall_plan()));
  bench_family(bench, {DispatchFamily::megatron_flex, CombineRecipe::rank_partial(), "flex"}, group, carried);
  bench_family(bench, {DispatchFamily::megatron_alltoall, CombineRecipe::source_slot_order(), "alltoall"}, group,
               single);
}

}  // namespace

void bench_budget_steps(Results& results, int ranks, std::vector<std::int64_t> const& tokens) {
  Board board(results, ranks);
  run_rank_threads(ranks, [&](RankClock& clock) {
    RankBench bench{board, clock};
    for (std::int64_t const count : tokens) bench_tokens(bench, count);
  });
}

}  // namespace gpu_bench
