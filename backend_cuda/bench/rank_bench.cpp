// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_ranks <out.json> [ranks]: dispatch and combine over NCCL and by the fused path; one
// process, one thread and one GPU per rank (default 2). Samples are the largest time of any rank, by events on its
// stream around calls that start behind a barrier; all raw samples are kept.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <mutex>
#include <numeric>
#include <random>

#include "bench_program.hpp"
#include "planned_bench.hpp"
#include "rank_threads.hpp"
#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/cuda/fused_executor.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"
#include "switchyard/dispatch/flex_planner.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header

constexpr std::int64_t kHidden = 7168;
constexpr int kTopK = 8;
constexpr int kExperts = 256;
constexpr int kSamples = 30;
constexpr int kWarmups = 5;
constexpr int kBurst = 20;  ///< calls in a row of a sample that stands for one: starts of ranks differ by microseconds

/// Samples of all ranks, merged by maximum; the last rank to hand in reports.
class Board {
 public:
  Board(Results& results, int ranks) : results_(results), ranks_(ranks) {}
  void hand_in(std::string const& name, std::vector<std::pair<std::string, double>> const& fields, double bytes,
               std::vector<double> const& samples, double floor_us = 0) {
    std::lock_guard const lock(mutex_);
    merged_.resize(samples.size(), 0);
    for (std::size_t i = 0; i < samples.size(); ++i) merged_[i] = std::max(merged_[i], samples[i]);
    floor_us_ = std::max(floor_us_, floor_us);
    if (++handed_in_ < ranks_) return;
    results_.add(name, fields, bytes, floor_us_ > 0 ? bytes / floor_us_ * 1e-3 : 0, merged_);
    handed_in_ = 0;
    floor_us_ = 0;
    merged_.clear();
  }

 private:
  Results& results_;
  int ranks_;
  std::mutex mutex_;
  int handed_in_ = 0;
  double floor_us_ = 0;
  std::vector<double> merged_;
};

/// One rank's group, stream and clock.
struct RankBench {
  Board& board;
  cuda::NcclCommunicator& checked;  ///< CheckLevel::digest
  cuda::NcclCommunicator& bare;     ///< CheckLevel::off
  cuda::Stream stream{};
  cuda::Event begin{cuda::EventTiming::on};
  cuda::Event end{cuda::EventTiming::on};

  /// @return microseconds of one call, as the mean of `burst` calls in a row
  std::vector<double> sample(std::function<void()> const& work, int burst = 1) {
    std::vector<double> samples;
    for (int i = -kWarmups; i < kSamples; ++i) {
      stream.view().synchronize();
      checked.barrier({.operation = "sample"});
      begin.view().record(stream);
      for (int call = 0; call < burst; ++call) work();
      end.view().record(stream);
      checked.wait(stream);
      if (i >= 0) samples.push_back(cuda::elapsed_us(begin, end) / burst);
    }
    return samples;
  }
};

RoutingMap draw_routing(int rank, std::int64_t tokens) {
  std::mt19937_64 random(static_cast<std::uint64_t>(100 + rank));
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> experts(kExperts);
  std::iota(experts.begin(), experts.end(), 0);
  for (std::int64_t token = 0; token < tokens; ++token) {
    std::shuffle(experts.begin(), experts.end(), random);
    ids.insert(ids.end(), experts.begin(), experts.begin() + kTopK);
  }
  std::vector<float> weights(ids.size(), 0.125F);
  return RoutingMap::from_topk(tokens, kExperts, kTopK, std::move(ids), std::move(weights));
}

/// The bare exchange of a plan's rows between peers, one message each: what dispatch and combine cannot go below with
/// NCCL. @return its median in microseconds
double wire_floor_us(RankBench& bench, DispatchPlan const& plan) {
  RowExchange exchange;
  for (DispatchStage const& stage : plan.stages)
    if (auto const* found = std::get_if<RowExchange>(&stage)) exchange = *found;
  std::int64_t const sent = std::accumulate(exchange.send_rows.begin(), exchange.send_rows.end(), std::int64_t{0});
  std::int64_t const got = std::accumulate(exchange.receive_rows.begin(), exchange.receive_rows.end(), std::int64_t{0});
  cuda::DeviceBuffer const out(sent * kHidden * 2);
  cuda::DeviceBuffer const in(got * kHidden * 2);
  std::vector<cuda::DeviceSend> sends;
  std::vector<cuda::DeviceReceive> receives;
  std::int64_t out_bytes = 0;
  std::int64_t in_bytes = 0;
  for (std::size_t peer = 0; peer < exchange.send_rows.size(); ++peer) {
    RankId const id(static_cast<std::int32_t>(peer));
    std::int64_t const to = exchange.send_rows[peer] * kHidden * 2;
    std::int64_t const from = exchange.receive_rows[peer] * kHidden * 2;
    if (id != bench.bare.rank()) {
      sends.push_back({id, out.as<std::byte>() + out_bytes, to});
      receives.push_back({id, in.as<std::byte>() + in_bytes, from});
    }
    out_bytes += to;
    in_bytes += from;
  }
  return median(bench.sample([&] { bench.bare.exchange_on(bench.stream, sends, receives, {.operation = "floor"}); }));
}

/// One plan through dispatch, combine and both.
void bench_plan(RankBench& bench, std::string const& name, DispatchPlan const& plan, CombineRecipe const& recipe,
                cuda::ReceiveLayout layout, bool check) {
  cuda::DeviceCommunicator& comm = check ? bench.checked : bench.bare;
  cuda::DevicePlan const device_plan(plan, {layout, {}});
  cuda::CudaExecutor executor(comm);
  std::int64_t const rows = plan.num_expert_rows();
  cuda::DeviceBuffer const tokens(plan.num_tokens * kHidden * 2);
  cuda::DeviceBuffer const expert_rows(rows * kHidden * 2);
  cuda::DeviceBuffer const out(plan.num_tokens * kHidden * 2);
  cuda::fill_bytes(tokens, 0x3c, bench.stream);
  auto const weights =
      cuda::upload(std::vector<float>(static_cast<std::size_t>(plan.num_tokens * kTopK), 0.125F), bench.stream);
  cuda::CombineInputs inputs;
  inputs.weights = weights.view(DType::f32, {plan.num_tokens, kTopK});
  auto const dispatch = [&] {
    executor.dispatch(device_plan, tokens.view(DType::bf16, {plan.num_tokens, kHidden}),
                      expert_rows.view(DType::bf16, {rows, kHidden}), bench.stream);
  };
  auto const combine = [&] {
    executor.combine(device_plan, recipe, expert_rows.view(DType::bf16, {rows, kHidden}), inputs,
                     out.view(DType::bf16, {plan.num_tokens, kHidden}), bench.stream);
  };
  std::vector<std::pair<std::string, double>> const fields{{"tokens", static_cast<double>(plan.num_tokens)},
                                                           {"ranks", static_cast<double>(comm.size())},
                                                           {"check", check ? 1.0 : 0.0}};
  std::string const full = name + " " + std::string(name_of(recipe)) + " T=" + std::to_string(plan.num_tokens) +
                           (layout == cuda::ReceiveLayout::chunks ? " chunks" : " blocks") +
                           (check ? "" : " unchecked");
  double const bytes = static_cast<double>(rows * kHidden * 2);
  double const floor_us = wire_floor_us(bench, plan);
  bench.board.hand_in("dispatch " + full, fields, bytes, bench.sample(dispatch), floor_us);
  bench.board.hand_in("combine " + full, fields, bytes, bench.sample(combine), floor_us);
  bench.board.hand_in("round trip " + full, fields, 2 * bytes, bench.sample([&] {
    dispatch();
    combine();
  }),
                      2 * floor_us);
}

/// The fused path on the same plan; says why where it is not available.
void bench_fused(RankBench& bench, DispatchPlan const& plan) {
  auto const attempt = cuda::FusedExecutor::create(bench.checked, {plan.num_tokens, kHidden * 2, kTopK});
  if (attempt.executor == nullptr) {
    if (plan.rank.value() == 0) std::printf("fused path not available: %s\n", attempt.reason.c_str());
    return;
  }
  cuda::DevicePlan const device_plan(plan);
  auto fused_plan = attempt.executor->prepare(device_plan);
  std::int64_t const rows = plan.num_expert_rows();
  cuda::DeviceBuffer const tokens(plan.num_tokens * kHidden * 2);
  cuda::DeviceBuffer const expert_rows(rows * kHidden * 2);
  cuda::DeviceBuffer const out(plan.num_tokens * kHidden * 2);
  cuda::fill_bytes(tokens, 0x3c, bench.stream);
  auto const weights =
      cuda::upload(std::vector<float>(static_cast<std::size_t>(plan.num_tokens * kTopK), 0.125F), bench.stream);
  auto const token_view = tokens.view(DType::bf16, {plan.num_tokens, kHidden});
  auto const row_view = expert_rows.view(DType::bf16, {rows, kHidden});
  auto const dispatch = [&] {
    attempt.executor->dispatch(fused_plan, token_view, weights.view(DType::f32, {plan.num_tokens, kTopK}), row_view,
                               bench.stream);
  };
  auto const combine = [&] {
    attempt.executor->combine(fused_plan, row_view, out.view(DType::bf16, {plan.num_tokens, kHidden}), bench.stream);
  };
  std::vector<std::pair<std::string, double>> const fields{{"tokens", static_cast<double>(plan.num_tokens)},
                                                           {"ranks", static_cast<double>(bench.bare.size())}};
  std::string const full = "fused rank_partial T=" + std::to_string(plan.num_tokens);
  double const bytes = static_cast<double>(rows * kHidden * 2);
  auto const both = [&] {
    dispatch();
    combine();
  };
  for (int const burst : {1, kBurst}) {
    std::string const name = full + (burst > 1 ? " in bursts of " + std::to_string(burst) : "");
    bench.board.hand_in("dispatch " + name, fields, bytes, bench.sample(dispatch, burst));
    bench.board.hand_in("combine " + name, fields, bytes, bench.sample(combine, burst));
    bench.board.hand_in("round trip " + name, fields, 2 * bytes, bench.sample(both, burst));
  }
  attempt.executor->check(bench.stream);
  bench.checked.barrier({.operation = "fused end"});
}

void bench_dispatch(RankBench& bench, std::int64_t tokens) {
  int const ranks = bench.checked.size();
  auto const me = bench.checked.rank().index();
  std::vector<RoutingMap> routings;
  for (int rank = 0; rank < ranks; ++rank) routings.push_back(draw_routing(rank, tokens));
  auto const placement = ExpertPlacement::contiguous(1, kExperts, ranks);
  FlexConfig flex;
  flex.grid = {1, ranks};
  AllToAllConfig alltoall;
  alltoall.grid = {1, ranks};
  auto const flex_plan = plan_flex_group(flex, routings, placement, 0)[me];
  auto const plan = plan_alltoall_group(alltoall, routings, placement, 0)[me];
  bench_fused(bench, flex_plan);
  bench_planned(bench, routings[me], placement, {kHidden, kTopK, kBurst});
  for (bool const check : {true, false}) {
    bench_plan(bench, "flex", flex_plan, CombineRecipe::rank_partial(), cuda::ReceiveLayout::blocks, check);
    for (auto const layout : {cuda::ReceiveLayout::blocks, cuda::ReceiveLayout::chunks})
      bench_plan(bench, "alltoall", plan, CombineRecipe::source_slot_order(), layout, check);
  }
}

void run_rank(Board& board, int port, int rank, int ranks) {
  if (cudaSetDevice(rank) != cudaSuccess) throw Error(ErrorCode::cuda, "no device for a rank");
  launch::ControlClient control("127.0.0.1", port, "bench", rank, ranks, std::chrono::seconds(60));
  auto handle = cuda::NcclHandle::create(control.blob(), rank, ranks, std::chrono::seconds(60));
  cuda::NcclOptions off;
  off.check = CheckLevel::off;
  // Both speak through one NCCL communicator, one after the other.
  cuda::NcclCommunicator bare(handle.share(), control, off);
  cuda::NcclCommunicator checked(std::move(handle), control);
  try {
    RankBench bench{board, checked, bare};
    for (std::int64_t const tokens : {128, 4096, 8192}) bench_dispatch(bench, tokens);
    checked.barrier({.operation = "end"});
  } catch (std::exception const& error) {
    checked.fail(error.what());
    throw;
  }
}

int run(char const* path, int ranks) {
  Results results(path);
  if (!results.is_open()) {
    std::printf("cannot write %s\n", path);
    return 1;
  }
  results.add_text("device", cuda::describe_device());
  results.add_text("nccl", cuda::describe_nccl());
  Board board(results, ranks);
  return run_rank_threads(ranks, [&](int port, int rank) { run_rank(board, port, rank, ranks); }) ? 0 : 1;
}

}  // namespace
}  // namespace gpu_bench

int main(int argc, char** argv) {
  return gpu_bench::run_rank_program(argc, argv, gpu_bench::run);
}
