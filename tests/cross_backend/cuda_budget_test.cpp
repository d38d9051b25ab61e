// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_budget: steps over slots of fixed size give the CPU's bytes, on ranks that are threads and share one
// GPU; too small budgets, routing at fault and calls that do not match give every rank the same error, and the plan
// works afterwards. SWITCHYARD_CASES=n takes few cases, for slow tools. Exit 0 when all is so, 1 when not, 77 without a
// GPU.
//
// By hand, two ranks with one expert each, slots of 2 rows: token 0 of rank 0 goes to expert 1, token 1 to both. Rank 0
// sends slot 0 = {1, -}, slot 1 = {0, 1}; rank 1 finds its expert's rows at places 0 and 1 of the slot from rank 0,
// which are rows (2 + 0) * 2 + 0 and (2 + 0) * 2 + 1 of its slots.
#include <cstdio>

#include "budget_faults.hpp"
#include "few_cases.hpp"
#include "gpu_program.hpp"
#include "switchyard/cuda/device.hpp"

namespace cross_backend {
namespace {

template <typename Body>
void run_group(PairReport& report, int ranks, CheckLevel check, Body const& body) {
  // Under slow tools ranks take turns on one thread: tools serialise launches, and take memory that one rank has freed
  // and another one got for unwritten.
  auto const scheduler = takes_few_cases() ? cpu::make_cooperative_scheduler() : cpu::make_thread_scheduler();
  cpu::GroupOptions options;
  options.check = check;
  try {
    cpu::run_ranks(*scheduler, ranks, options, [&](Communicator& comm) {
      cuda::HostStagedCommunicator device_comm(comm);
      body(comm, device_comm);
    });
  } catch (std::exception const& error) {
    report.failed(std::to_string(ranks) + " ranks: " + error.what());
  }
  std::printf("%s %d ranks: %ld comparisons so far, %d failed\n", report.failures() == 0 ? "ok    " : "FAILED", ranks,
              report.comparisons(), report.failures());
  std::fflush(stdout);
}

int run_all() {
  bool const few = takes_few_cases();
  std::printf("device: %s\n", cuda::describe_device().c_str());
  PairReport report;
  using Hiddens = std::vector<std::int64_t>;
  for (int const ranks : {1, 2, 3, 4}) {
    if (few && ranks != 2) continue;
    run_group(report, ranks, CheckLevel::digest, [&](Communicator& comm, cuda::DeviceCommunicator& device_comm) {
      compare_budgets(report, comm, device_comm, ranks == 2 && !few ? Hiddens{8, 36, 5} : Hiddens{8});
      for (int tp = 2; tp <= ranks; tp *= 2)
        if (ranks % tp == 0) compare_budgets(report, comm, device_comm, {8}, tp);
      compare_bins(report, comm, device_comm);
      refuse_all(report, comm, device_comm);
    });
  }
  run_group(report, 3, CheckLevel::off, [&](Communicator& comm, cuda::DeviceCommunicator& device_comm) {
    refuse_other_calls(report, comm, device_comm);
  });
  std::printf("%ld comparisons of %zu values, %d failed\n", report.comparisons(), report.values(), report.failures());
  return report.failures() == 0 && report.comparisons() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_all);
}
