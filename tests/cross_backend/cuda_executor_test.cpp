// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_executor: do CpuExecutor and CudaExecutor give the same bytes? Every dispatcher, recipe, dtype, grid
// of up to 8 ranks and weight type on data on which recipes differ; the edge cases of the CPU's tests; Megatron's drop
// and pad; random placements with replicas, ragged and empty ranks, rows of any bits; and gradients of all. Ranks are
// threads that share one GPU (gpu_group.hpp) and exchange device memory through the host. SWITCHYARD_CASES=n takes
// n seeds, every eleventh case and few recipes, for slow tools. Exit 0 when all bytes are equal, 1 when one is not, 77
// without a GPU.
//
// By hand, one rank: token rows 3 and 4 on experts (0, 1) and (1), weights 2, 5 and 7; expert rows 3 | 3, 4; identity
// experts: combine gives 2 * 3 + 5 * 3 = 21 and 28 on either executor.
#include <cstdio>
#include <string>

#include "executor_families.hpp"
#include "gpu_group.hpp"
#include "gpu_program.hpp"
#include "switchyard/cuda/device.hpp"

namespace cross_backend {
namespace {

constexpr ExpertParallelGrid kGrids[] = {{1, 1}, {1, 2}, {1, 4}, {2, 1}, {2, 2}, {1, 8}, {2, 4}};

/// Whether a run under a slow tool leaves the case out.
bool is_left_out(ExpertParallelGrid grid, Dispatcher dispatcher) {
  return grid.world() != 2 || (dispatcher != Dispatcher::alltoall_tp_major && dispatcher != Dispatcher::flex);
}

void check_all_recipes(PairReport& report, bool few) {
  for (std::int64_t const hidden : few ? std::vector<std::int64_t>{8} : std::vector<std::int64_t>{36, 64, 5})
    for (auto const grid : kGrids)
      for (Dispatcher const dispatcher : support::kDispatchers) {
        bool const repeats = grid.world() == 8 && hidden == 64;  // many ranks, long rows: one layout will do
        if (repeats || (few && is_left_out(grid, dispatcher))) continue;
        RecipeBatch batch;
        batch.seed = 40 + static_cast<std::uint64_t>(hidden);
        batch.hidden = hidden;
        RecipeRun run;
        run.grid = grid;
        run.dispatcher = dispatcher;
        std::string const name = std::string(support::name_of(dispatcher)) + " tp" + std::to_string(grid.tp) + " ep" +
                                 std::to_string(grid.ep) + " hidden " + std::to_string(hidden);
        auto const layout = hidden == 64 ? cuda::ReceiveLayout::blocks : cuda::ReceiveLayout::chunks;
        run_case(report, grid.world(), name, [&](Communicator& comm) {
          cuda::HostStagedCommunicator device_comm(comm);
          recipe_rank(report, batch, run, layout, name, comm, device_comm);
        });
      }
  std::printf("%s recipes: %ld comparisons so far, %d failed\n", report.failures() == 0 ? "ok    " : "FAILED",
              report.comparisons(), report.failures());
}

void check_families(PairReport& report, int seeds) {
  auto const cases = family_cases(seeds);
  int const step = takes_few_cases() ? 11 : 1;  // no divisor of the number of families
  for (std::size_t i = 0; i < cases.size(); i += static_cast<std::size_t>(step))
    run_case(report, cases[i].world(), cases[i].name, [&](Communicator& comm) {
      cuda::HostStagedCommunicator device_comm(comm);
      family_rank(report, cases[i], static_cast<int>(i), comm, device_comm);
    });
  std::printf("%s families: %ld comparisons so far, %d failed\n", report.failures() == 0 ? "ok    " : "FAILED",
              report.comparisons(), report.failures());
}

/// A NaN weight of a row is named by check(); the object works afterwards.
void check_nan_weight(PairReport& report) {
  run_case(report, 1, "NaN weight", [&](Communicator& comm) {
    auto const routing = RoutingMap::from_topk(2, 2, 2, {0, 1, 1, -1}, {1.0F, 2.0F, 3.0F, 4.0F});
    auto const plan = plan_alltoall(comm, {}, routing, ExpertPlacement::contiguous(1, 2, 1), 0);
    cuda::Stream const stream;
    cuda::DevicePlan const device_plan(plan);
    cuda::HostStagedCommunicator device_comm(comm);
    cuda::CudaExecutor gpu(device_comm);
    auto const rows = cuda::upload(std::vector<float>(3, 1.0F), stream);
    auto const out = cuda::upload(std::vector<float>(2, 0.0F), stream);
    auto const combine = [&](std::vector<float> const& values) {
      auto const weights = cuda::upload(values, stream);
      cuda::CombineInputs inputs;
      inputs.weights = weights.view(DType::f32, {2, 2});
      gpu.combine(device_plan, {}, rows.view(DType::f32, {3, 1}), inputs, out.view(DType::f32, {2, 1}), stream);
      gpu.check(stream);
    };
    std::string said;
    try {
      combine({1.0F, 1.0F, std::nanf(""), 1.0F});
    } catch (Error const& error) {
      said = error.what();
    }
    if (said.find("token 1, slot 0 on rank 0 is NaN") == std::string::npos)
      report.failed("NaN weight: said '" + said + "'");
    combine({1.0F, 1.0F, 1.0F, std::nanf("")});  // no row has that weight
    report.compared(1);
  });
}

int run_all() {
  std::printf("device: %s\n", cuda::describe_device().c_str());
  PairReport report;
  check_nan_weight(report);
  check_families(report, seeds_or(40));
  check_all_recipes(report, takes_few_cases());
  std::printf("%ld comparisons of %zu values, %d failed\n", report.comparisons(), report.values(), report.failures());
  return report.failures() == 0 && report.comparisons() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_all);
}
