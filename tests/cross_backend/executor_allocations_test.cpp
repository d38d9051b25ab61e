// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_allocations: every allocation of a call fails once, and the object goes on: DevicePlan and
// CudaExecutor (dispatch, combines, gradients), BudgetPlan and its steps, DevicePlanner, expert weights and the exact
// engine, and RebalanceExecutor (rebalance_allocations.cpp). Two ranks share one GPU and run alike, so that both lack
// memory at the same place. Exit 0 when all is so, 1 when not, 77 without a GPU.
//
// By hand: both ranks hold 4 tokens; token t chose experts t mod 2 and 2 + t mod 2, the second of which is rank 1's:
// every rank sends 4 rows to either.
#include "executor_allocations.hpp"

#include <cstdio>
#include <memory>

#include "allocation_faults.hpp"
#include "cuda_planner_cases.hpp"
#include "executor_cases.hpp"
#include "gpu_program.hpp"
#include "support/dispatch_edge_cases.hpp"
#include "switchyard/cuda/budget_plan.hpp"

namespace cross_backend {
namespace {

constexpr std::int64_t kTokens = 4;
constexpr std::int64_t kHidden = 8;
constexpr int kRanks = 2;

support::RunCase equal_ranks() {
  support::Tokens tokens;
  for (int token = 0; token < kTokens; ++token) tokens.push_back({{token % 2, 0}, {2 + token % 2, 1}});
  auto run = support::edge_run(1, {{0, 1}, {2, 3}}, 2, {tokens, tokens});
  run.hidden = kHidden;
  return run;
}

/// What a rank needs for its calls, on the device that no fault reaches, and what the CPU makes of it.
struct Reference {
  Reference(support::Family const& family, Communicator& comm)
      : run(equal_ranks()),
        routing(run.routing(comm.rank().value())),
        plan(support::plan_of(family, run, comm)),
        cpu(comm),
        rows(plan.num_expert_rows()),
        host_tokens(run.rows<float>(comm.rank().value(), kTokens)),
        host_rows(static_cast<std::size_t>(rows * kHidden)),
        ids(routing.ids().begin(), routing.ids().end()),
        host_weights(routing.weights().begin(), routing.weights().end()) {
    cpu.dispatch(plan, host(host_tokens, kTokens), TensorView::matrix(std::span(host_rows), rows, kHidden));
    tokens = cuda::upload(host_tokens, stream);
    expert_rows = cuda::upload(host_rows, stream);
    weights = cuda::upload(host_weights, stream);
    device_ids = cuda::upload(ids, stream);
    row_output = cuda::DeviceBuffer(rows * kHidden * 4);
    token_output = cuda::DeviceBuffer(kTokens * kHidden * 4);
    weight_output = cuda::DeviceBuffer(kTokens * 2 * 4);
  }
  [[nodiscard]] static ConstTensorView host(std::vector<float> const& values, std::int64_t count) {
    return ConstTensorView::matrix(std::span<float const>(values), count, kHidden);
  }
  [[nodiscard]] Bytes combined(CombineRecipe const& recipe) {
    std::vector<float> out(host_tokens.size());
    cpu::CombineInputs inputs;
    inputs.weights = host_weights;
    inputs.experts = ids;
    cpu.combine(plan, recipe, host(host_rows, rows), inputs, TensorView::matrix(std::span(out), kTokens, kHidden));
    return bytes_of(out);
  }
  [[nodiscard]] Bytes token_gradients(CombineRecipe const& recipe) {
    std::vector<float> out(host_tokens.size());
    cpu.dispatch_backward(plan, recipe, host(host_rows, rows), ids,
                          TensorView::matrix(std::span(out), kTokens, kHidden));
    return bytes_of(out);
  }
  [[nodiscard]] Bytes row_gradients() {
    std::vector<float> out(host_rows.size());
    std::vector<float> unused(host_weights.size());
    cpu::CombineInputs inputs;
    inputs.weights = host_weights;
    cpu.combine_backward(plan, host(host_tokens, kTokens), host(host_rows, rows), inputs,
                         TensorView::matrix(std::span(out), rows, kHidden), unused);
    return bytes_of(out);
  }

  [[nodiscard]] TensorView token_view(cuda::DeviceBuffer const& buffer) const {
    return device_matrix<float>(buffer, kTokens, kHidden);
  }
  [[nodiscard]] TensorView row_view(cuda::DeviceBuffer const& buffer) const {
    return device_matrix<float>(buffer, rows, kHidden);
  }
  [[nodiscard]] cuda::CombineInputs inputs() const {
    cuda::CombineInputs inputs;
    inputs.weights = weights.view(DType::f32, {kTokens, 2});
    return inputs;
  }
  /// What `issue` leaves in `output`.
  template <typename Issue>
  [[nodiscard]] Bytes output_of(cuda::DeviceBuffer const& output, Issue const& issue) const {
    cuda::fill_bytes(output, kPoisonByte, stream);
    issue();
    return cuda::download<std::byte>(output, stream);
  }

  support::RunCase run;
  RoutingMap routing;
  DispatchPlan plan;
  cpu::CpuExecutor cpu;
  std::int64_t rows;
  std::vector<float> host_tokens;
  std::vector<float> host_rows;
  std::vector<std::int32_t> ids;
  std::vector<float> host_weights;
  cuda::Stream stream;
  cuda::DeviceBuffer tokens, expert_rows, weights, device_ids, row_output, token_output, weight_output;
};

/// Objects whose memory is not made yet.
struct ColdExecutor {
  ColdExecutor(Communicator& comm, Reference const& given)
      : staged(comm), plan(given.plan, {cuda::ReceiveLayout::blocks, given.ids}), gpu(staged) {}
  cuda::HostStagedCommunicator staged;
  cuda::DevicePlan plan;
  cuda::CudaExecutor gpu;
};

class ExecutorFaults {
 public:
  ExecutorFaults(PairReport& report, support::Family const& family, Communicator& comm)
      : report_(report), name_(family.name), comm_(comm), given_(family, comm) {}

  void check_all() {
    auto& g = given_;
    Bytes const rows = bytes_of(g.host_rows);
    fail_each_allocation(
        report_, name_ + " DevicePlan, CudaExecutor and dispatch", names(), rows,
        [&] { return std::make_unique<cuda::HostStagedCommunicator>(comm_); },
        [&](cuda::HostStagedCommunicator& staged) {
          return g.output_of(g.row_output, [&] {
            cuda::DevicePlan const plan(g.plan, {cuda::ReceiveLayout::chunks, g.ids});
            cuda::CudaExecutor(staged).dispatch(plan, g.token_view(g.tokens), g.row_view(g.row_output), g.stream);
            g.stream.view().synchronize();
          });
        });
    check("dispatch", rows, g.row_output, [&](ColdExecutor& cold) {
      cold.gpu.dispatch(cold.plan, g.token_view(g.tokens), g.row_view(g.row_output), g.stream);
    });
    for (auto const name : recipe_names()) check_recipe(std::string(name), *parse_recipe(name));
    check("combine_backward", g.row_gradients(), g.row_output, [&](ColdExecutor& cold) {
      cold.gpu.combine_backward(cold.plan, g.token_view(g.tokens), g.row_view(g.expert_rows), g.inputs(),
                                g.row_view(g.row_output), g.weight_output.view(DType::f32, {kTokens, 2}), g.stream);
    });
  }

 private:
  [[nodiscard]] RowNames names() const { return {comm_.rank().value(), kHidden, 4}; }

  void check_recipe(std::string const& name, CombineRecipe const& recipe) {
    auto& g = given_;
    if (!recipe_support(g.plan, recipe, CombineRoute::automatic)) return;
    check("combine by " + name, g.combined(recipe), g.token_output, [&](ColdExecutor& cold) {
      cold.gpu.combine(cold.plan, recipe, g.row_view(g.expert_rows), g.inputs(), g.token_view(g.token_output),
                       g.stream);
    });
    check("dispatch_backward by " + name, g.token_gradients(recipe), g.token_output, [&](ColdExecutor& cold) {
      cold.gpu.dispatch_backward(cold.plan, recipe, g.row_view(g.expert_rows), g.token_view(g.token_output), g.stream);
    });
  }
  template <typename Call>
  void check(std::string const& what, Bytes const& expected, cuda::DeviceBuffer const& output, Call const& call) {
    fail_each_allocation(
        report_, name_ + " " + what, names(), expected, [&] { return std::make_unique<ColdExecutor>(comm_, given_); },
        [&](ColdExecutor& cold) { return given_.output_of(output, [&] { call(cold); }); });
  }

  PairReport& report_;
  std::string name_;
  Communicator& comm_;
  Reference given_;
};

cuda::BudgetOptions budget_options() {
  cuda::BudgetOptions options;
  options.planner.family = DispatchFamily::megatron_flex;
  options.planner.grid = {1, kRanks};
  options.planner.columns = 2;
  options.planner.max_tokens = kTokens;
  options.max_row_bytes = kHidden * 4;
  return options;
}

struct ColdBudget {
  explicit ColdBudget(Communicator& comm)
      : staged(comm), plan(staged, budget_options(), ExpertPlacement::contiguous(1, 4, kRanks), 0), gpu(staged) {}
  cuda::HostStagedCommunicator staged;
  cuda::BudgetPlan plan;
  cuda::CudaExecutor gpu;
};

/// A whole step over slots, on a plan that is there and on one that the call makes.
void check_budget(PairReport& report, Communicator& comm) {
  Reference given({DispatchFamily::megatron_flex, {}, "flex"}, comm);
  CombineRecipe const recipe = CombineRecipe::rank_partial();
  Bytes const expected = given.combined(recipe);
  auto const step = [&](ColdBudget& cold) {
    cuda::DeviceBuffer const rows(cold.plan.expert_rows() * kHidden * 4);
    auto const row_view = device_matrix<float>(rows, cold.plan.expert_rows(), kHidden);
    return given.output_of(given.token_output, [&] {
      cold.gpu.plan(cold.plan,
                    {given.device_ids.as<std::int32_t const>(), nullptr, given.weights.as<float const>(), kTokens},
                    given.stream);
      cold.gpu.dispatch(cold.plan, given.token_view(given.tokens), row_view, given.stream);
      cold.gpu.combine(cold.plan, recipe, row_view, given.inputs(), given.token_view(given.token_output), given.stream);
      cold.gpu.check(cold.plan, given.stream);
    });
  };
  RowNames const names{comm.rank().value(), kHidden, 4};
  fail_each_allocation(
      report, "a step over slots", names, expected, [&] { return std::make_unique<ColdBudget>(comm); }, step);
  fail_each_allocation(
      report, "BudgetPlan", names, expected, [&] { return &comm; },
      [&](Communicator& group) {
        ColdBudget cold(group);
        return step(cold);
      });
}

void check_planner(PairReport& report) {
  for (auto const family :
       {DispatchFamily::megatron_alltoall, DispatchFamily::megatron_allgather, DispatchFamily::megatron_flex}) {
    auto const run = make_case(family, {1, 1}, 8, 2, {31});
    auto const placement = placement_of(run);
    auto const routing = draw_routing(run, 0);
    auto const core = core_plans(run, {routing}, placement).front();
    cuda::Stream const stream;
    auto const ids = cuda::upload(std::vector<std::int32_t>(routing.ids().begin(), routing.ids().end()), stream);
    auto const weights = cuda::upload(std::vector<float>(routing.weights().begin(), routing.weights().end()), stream);
    std::vector<std::uint64_t> const expected{1, core.fingerprint().value};
    fail_each_allocation(
        report, "DevicePlanner of " + run.name, {0, 1, 8}, bytes_of(expected),
        [&] { return std::make_unique<PlannerCase>(run); },
        [&](PlannerCase const& config) {
          cuda::DevicePlanner planner(config.config, RankId(0), placement, 0);
          planner.assign({ids.as<std::int32_t const>(), nullptr, weights.as<float const>(), 31}, stream);
          planner.plan(stream);
          auto const plan = planner.download(stream);
          return bytes_of(std::vector<std::uint64_t>{plan == core ? 1U : 0U, plan.fingerprint().value});
        });
  }
}

template <typename Body>
void run_group(PairReport& report, std::string const& name, Body const& body) {
  try {
    cpu::run_ranks(*cpu::make_thread_scheduler(), kRanks, {}, body);
  } catch (std::exception const& error) {
    report.failed(name + ": " + error.what());
  }
}

int run_all() {
  PairReport report;
  check_planner(report);
  check_expert_allocations(report);
  for (auto const& family : support::all_families())
    run_group(report, family.name, [&](Communicator& comm) { ExecutorFaults(report, family, comm).check_all(); });
  run_group(report, "slots", [&](Communicator& comm) { check_budget(report, comm); });
  check_rebalance_allocations(report);
  std::printf("%ld failed allocations and comparisons, %d failed\n", report.comparisons(), report.failures());
  return report.failures() == 0 && report.comparisons() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_all);
}
