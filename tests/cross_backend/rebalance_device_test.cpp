// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_rebalance: do both backends leave the same bytes after a rebalance? Random placements with replicas,
// empty slots and ranks without slots; plans and schedules, with as many spare rows as slots and with one; at once,
// layer by layer, and as a profile; dead ranks and joining ranks; a row that is damaged on its way, and ranks whose
// plans differ. Profilers see every phase by its name. Ranks are threads that share one GPU (gpu_group.hpp) and
// exchange device memory through the host. SWITCHYARD_CASES=n takes n placements. Exit 0 when all is equal, 1 when not,
// 77 without a GPU.
//
// By hand: two ranks hold experts (0, 1) and (2, 3) and shall hold (2, 1) and (0, 3). Expert 0 goes to rank 1, expert 2
// to rank 0, each into a spare row; after the acknowledgement each is copied into slot 0. Rows 1 are never written.
#include <cuda_runtime_api.h>

#include <cstdio>

#include "gpu_group.hpp"
#include "gpu_program.hpp"
#include "rebalance_members.hpp"
#include "support/nvtx_listener.hpp"
#include "support/random_placements.hpp"
#include "switchyard/cuda/device.hpp"

namespace cross_backend {
namespace {

template <typename Body>
void run_links(PairReport& report, int ranks, std::string const& name, Body const& body) {
  run_case(report, ranks, name, [&](Communicator& comm) {
    cuda::HostStagedCommunicator data(comm);
    body(cuda::RebalanceLinks{comm, data});
  });
}

void check_random_moves(PairReport& report, int seeds) {
  for (int seed = 0; seed < seeds; ++seed) {
    auto const pair = switchyard::test::draw_placements(static_cast<std::uint64_t>(seed));
    std::string const name = "seed " + std::to_string(seed);
    run_links(report, pair.before.num_ranks(), name,
              [&](cuda::RebalanceLinks const& links) { rebalance_case(report, name, pair.before, pair.after, links); });
  }
}

/// Dead ranks, and groups that grow and shrink.
void check_members(PairReport& report) {
  for (int const ranks : {2, 3, 4}) {
    auto const dead = without_rank_one(ranks);
    auto const scaling = scaling_of(ranks);
    run_links(report, ranks, "members of " + std::to_string(ranks) + " ranks",
              [&](cuda::RebalanceLinks const& links) { change_members(report, dead, scaling, links); });
  }
}

/// Flips a bit of the first row that arrives.
class DamagingCommunicator final : public cuda::DeviceCommunicator {
 public:
  explicit DamagingCommunicator(cuda::DeviceCommunicator& inner) : inner_(inner) {}
  [[nodiscard]] RankId rank() const noexcept override { return inner_.rank(); }
  [[nodiscard]] int size() const noexcept override { return inner_.size(); }
  void exchange_on(cuda::StreamView stream, std::span<cuda::DeviceSend const> sends,
                   std::span<cuda::DeviceReceive const> receives, CallOptions const& options) override {
    inner_.exchange_on(stream, sends, receives, options);
    if (receives.empty() || damaged_) return;
    damaged_ = true;
    std::uint8_t byte = 0;
    bool const read = cudaMemcpy(&byte, receives[0].data, 1, cudaMemcpyDeviceToHost) == cudaSuccess;
    byte ^= 4;
    // A copy from pageable memory may return before it has arrived, and other streams do not wait for it.
    bool const written = cudaMemcpy(receives[0].data, &byte, 1, cudaMemcpyHostToDevice) == cudaSuccess &&
                         cudaDeviceSynchronize() == cudaSuccess;
    if (!read || !written) throw Error(ErrorCode::cuda, "the test could not damage a row");
  }
  void abort(std::string const& reason) noexcept override { inner_.abort(reason); }

 private:
  cuda::DeviceCommunicator& inner_;
  bool damaged_ = false;
};

/// What a rank's execution throws, with its memory compared to what it was.
void expect_failure(PairReport& report, std::string const& name, RebalancePlan const& plan,
                    cuda::RebalanceLinks const& links, std::initializer_list<ErrorCode> codes) {
  RankRows const rows(plan.before, links.control.rank());
  cuda::Stream const stream;
  auto const memory = cuda::upload(rows.bytes(), stream);
  cuda::RebalanceExecutor executor(plan);
  std::optional<ErrorCode> thrown;
  try {
    executor.execute(links, rows.at(memory.as<std::byte>()), stream);
  } catch (Error const& error) {
    thrown = error.code();
    if (error.code() == ErrorCode::corrupt_data &&
        std::string(error.what()).find("expert 2, tensor 0") == std::string::npos)
      report.failed(name + " does not name the row: " + error.what());
  }
  if (!thrown || std::find(codes.begin(), codes.end(), *thrown) == codes.end())
    report.failed(name + ": ended with " + (thrown ? std::string(to_string(*thrown)) : "no error"));
  if (bytes_of(memory, stream) != rows.bytes()) report.failed(name + ": weights were written");
  if (executor.committed_placement() != plan.before) report.failed(name + ": a placement was committed");
  report.compared(rows.bytes().size());
}

/// The example of the first comment, which goes wrong on rank 0; then ranks with different plans.
void check_failures(PairReport& report) {
  auto const before = pairs_of_slots(2, 4, {0, 1, 2, 3});
  auto const plan = plan_rebalance(before, pairs_of_slots(2, 4, {2, 1, 0, 3}));
  auto const other = plan_rebalance(before, pairs_of_slots(2, 4, {0, 2, 1, 3}));
  run_links(report, 2, "damaged row", [&](cuda::RebalanceLinks const& links) {
    DamagingCommunicator damaging(links.data);
    bool const victim = links.control.rank().value() == 0;
    cuda::RebalanceLinks const bad{links.control, victim ? damaging : links.data};
    if (victim) expect_failure(report, "damaged row", plan, bad, {ErrorCode::corrupt_data});
    if (!victim) expect_failure(report, "damaged row elsewhere", plan, bad, {ErrorCode::aborted});
  });
  run_links(report, 2, "different plans", [&](cuda::RebalanceLinks const& links) {
    bool const first = links.control.rank().value() == 0;
    expect_failure(report, "different plans", first ? plan : other, links, {ErrorCode::desync});
  });
}

/// Every phase has been a range by now.
void check_ranges(PairReport& report) {
  std::string const seen = support::ranges_seen();
  for (char const* const name : {"rebalance", "rebalance begin", "rebalance poll", "rebalance commit",
                                 "rebalance profile", "move rows", "verify rows", "write slots"})
    if (seen.find(std::string("+") + name + ";") == std::string::npos)
      report.failed(std::string("profilers do not see ") + name);
}

int run_all() {
  std::printf("device: %s\n", cuda::describe_device().c_str());
  bool const listens = support::listen_to_ranges();
  PairReport report;
  check_members(report);
  check_failures(report);
  check_random_moves(report, seeds_or(40));
  if (takes_few_cases()) std::printf("not checked: what profilers see; a tool may be the profiler\n");
  if (listens && !takes_few_cases()) check_ranges(report);
  std::printf("%ld comparisons of %zu bytes, %d failed\n", report.comparisons(), report.values(), report.failures());
  return report.failures() == 0 && report.comparisons() > 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_all);
}
