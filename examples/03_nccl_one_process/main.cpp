// SPDX-License-Identifier: Apache-2.0
/// Dispatches and combines tokens between all GPUs of this machine: one process, one thread and one GPU per rank.
///
/// Token t of rank r is the row [r, t, 1, 0]. Every token goes to 2 experts with weights 3/4 and 1/4, and the experts
/// change nothing, so every token must come back as it left: an equality, not a tolerance.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"
#include "switchyard/cuda/system.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"

namespace sy = switchyard;

namespace {

constexpr int kMostRanks = 8;
constexpr int kExpertsPerRank = 4;
constexpr int kTopK = 2;
constexpr std::int64_t kTokens = 64;
constexpr std::int64_t kHidden = 4;
constexpr auto kDeadline = std::chrono::seconds(60);

sy::RoutingMap routing_of(int rank, int experts) {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  for (std::int64_t token = 0; token < kTokens; ++token)
    for (int slot = 0; slot < kTopK; ++slot) {
      ids.push_back(static_cast<std::int32_t>((3 * rank + 5 * token + slot) % experts));
      weights.push_back(slot == 0 ? 0.75F : 0.25F);
    }
  return sy::RoutingMap::from_topk(kTokens, experts, kTopK, ids, weights);
}

std::vector<float> tokens_of(int rank) {
  std::vector<float> tokens;
  for (std::int64_t token = 0; token < kTokens; ++token)
    tokens.insert(tokens.end(), {static_cast<float>(rank), static_cast<float>(token), 1.0F, 0.0F});
  return tokens;
}

/// Plan once, then a step: dispatch, (experts), combine. @return whether every token came back.
bool run_step(sy::cuda::NcclCommunicator& comm) {
  int const rank = comm.rank().value();
  int const experts = kExpertsPerRank * comm.size();
  auto const placement = sy::ExpertPlacement::contiguous(/*num_layers=*/1, experts, comm.size());
  auto const routing = routing_of(rank, experts);
  sy::AllToAllConfig const config{.grid = {.tp = 1, .ep = comm.size()}};
  sy::cuda::DevicePlan const plan(sy::plan_alltoall(comm, config, routing, placement, /*layer=*/0));
  std::int64_t const num_rows = plan.plan().num_expert_rows();

  sy::cuda::Stream const stream;
  auto const tokens = sy::cuda::upload(tokens_of(rank), stream);
  std::vector<float> const values(routing.weights().begin(), routing.weights().end());
  auto const weights = sy::cuda::upload(values, stream);
  sy::cuda::DeviceBuffer const rows(num_rows * kHidden * 4);
  sy::cuda::DeviceBuffer const out(kTokens * kHidden * 4);
  auto const row_view = rows.view(sy::DType::f32, {num_rows, kHidden});

  sy::cuda::CudaExecutor executor(comm);
  executor.dispatch(plan, tokens.view(sy::DType::f32, {kTokens, kHidden}), row_view, stream);
  sy::cuda::CombineInputs inputs;
  inputs.weights = weights.view(sy::DType::f32, {kTokens, kTopK});
  executor.combine(plan, sy::CombineRecipe::source_slot_order(), row_view, inputs,
                   out.view(sy::DType::f32, {kTokens, kHidden}), stream);
  comm.wait(stream);
  executor.check(stream);
  return sy::cuda::download<float>(out, stream) == tokens_of(rank);
}

/// One rank's thread. A failure becomes everybody's, so that no rank waits for this one.
std::string run_rank(int port, int rank, int ranks) {
  try {
    if (cudaSetDevice(rank) != cudaSuccess) throw std::runtime_error("its device cannot be used");
    sy::launch::ControlClient control("127.0.0.1", port, "example", rank, ranks, kDeadline);
    sy::cuda::NcclCommunicator comm(sy::cuda::NcclHandle::create(control, kDeadline), control);
    try {
      std::string const where = sy::cuda::describe_group(comm);
      if (rank == 0) std::printf("%s\n", where.c_str());
      return run_step(comm) ? "" : "a token came back changed";
    } catch (std::exception const& error) {
      comm.fail(error.what());
      throw;
    }
  } catch (std::exception const& error) {
    return error.what();
  }
}

int run() {
  int const ranks = std::min(sy::cuda::device_count(), kMostRanks);
  if (ranks == 0) {
    std::printf("skipped: no GPU on this machine\n");
    return 0;
  }
  sy::launch::ControlServer const server(ranks, /*port=*/0, "example", sy::cuda::make_nccl_id());
  std::vector<std::string> errors(static_cast<std::size_t>(ranks));
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] { errors[static_cast<std::size_t>(rank)] = run_rank(server.port(), rank, ranks); });
  for (std::thread& thread : threads) thread.join();

  int failed = 0;
  for (int rank = 0; rank < ranks; ++rank) {
    std::string const& error = errors[static_cast<std::size_t>(rank)];
    if (!error.empty()) std::printf("rank %d: %s\n", rank, error.c_str());
    if (!error.empty()) ++failed;
  }
  std::printf("%d GPUs, %d tokens dispatched and combined; ranks that failed: %d\n", ranks,
              static_cast<int>(kTokens) * ranks, failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace

int main() {
  try {
    return run();
  } catch (std::exception const& error) {
    std::fprintf(stderr, "example failed: %s\n", error.what());
    return 1;
  }
}
