// SPDX-License-Identifier: Apache-2.0
#include "rank_threads.hpp"

#include <cuda_runtime_api.h>

#include <cstdio>
#include <exception>
#include <mutex>
#include <string>
#include <thread>

#include "peer_copies.hpp"
#include "switchyard/cuda/system.hpp"
#include "switchyard/launch/control.hpp"
#include "switchyard/types/error.hpp"

namespace gpu_bench {

using namespace switchyard;  // NOLINT: a program, not a header

namespace {

/// On stderr, once per process: stdout is for results.
void say_where(Communicator& comm) {
  static std::once_flag said;
  std::string const line = cuda::describe_group(comm);
  if (comm.rank().value() == 0) std::call_once(said, [&] { std::fprintf(stderr, "%s\n", line.c_str()); });
}

void run_rank(int port, int rank, int ranks, std::function<void(RankClock&)> const& body) {
  if (cudaSetDevice(rank) != cudaSuccess) throw Error(ErrorCode::cuda, "no device for a rank");
  launch::ControlClient control("127.0.0.1", port, "bench", rank, ranks, std::chrono::seconds(60));
  auto handle = cuda::NcclHandle::create(control, std::chrono::seconds(60));
  cuda::NcclOptions off;
  off.check = CheckLevel::off;
  cuda::NcclCommunicator bare(handle.share(), control, off);
  cuda::NcclCommunicator checked(std::move(handle), control);
  try {
    say_where(checked);
    RankClock clock{checked, bare};
    body(clock);
    checked.barrier({.operation = "end"});
  } catch (std::exception const& error) {
    checked.fail(error.what());
    throw;
  }
}

}  // namespace

std::vector<double> RankClock::sample(std::function<void()> const& work, int burst, int samples) {
  std::vector<double> times;
  for (int i = -kWarmups; i < samples; ++i) {
    stream.view().synchronize();
    checked.barrier({.operation = "sample"});
    begin.view().record(stream);
    for (int call = 0; call < burst; ++call) work();
    end.view().record(stream);
    checked.wait(stream);
    if (i >= 0) times.push_back(cuda::elapsed_us(begin, end) / burst);
  }
  return times;
}

std::vector<double> RankClock::sample_together(std::function<void()> const& work) {
  if (!gate.is_there()) return {};
  std::vector<double> times;
  for (int i = -kWarmups; i < kSamples; ++i) {
    stream.view().synchronize();
    checked.barrier({.operation = "sample"});
    gate.run(stream);
    begin.view().record(stream);
    work();
    end.view().record(stream);
    checked.wait(stream);
    if (i >= 0) times.push_back(cuda::elapsed_us(begin, end));
  }
  return times;
}

std::vector<double> RankClock::sample_copies(PeerCopies& copies, int burst, int samples) {
  auto times = sample([&] { copies.run(stream, burst); }, 1, samples);
  for (double& time : times) time /= burst;
  checked.barrier({.operation = "copies end"});
  return times;
}

void run_rank_threads(int ranks, std::function<void(RankClock&)> const& body) {
  launch::ControlServer server(ranks, 0, "bench", cuda::make_nccl_id());
  std::vector<std::thread> threads;
  std::vector<std::string> problems(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      try {
        run_rank(server.port(), rank, ranks, body);
      } catch (std::exception const& error) {
        problems[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  std::string all;
  for (int rank = 0; rank < ranks; ++rank) {
    std::string const& problem = problems[static_cast<std::size_t>(rank)];
    if (!problem.empty()) all += (all.empty() ? "rank " : "; rank ") + std::to_string(rank) + ": " + problem;
  }
  if (!all.empty()) throw Error(ErrorCode::cuda, all);
}

}  // namespace gpu_bench
