// SPDX-License-Identifier: Apache-2.0
/// The harness of NCCL: one process, one thread and one GPU per rank.
#pragma once

#include <cuda_runtime_api.h>

#include <condition_variable>
#include <mutex>
#include <thread>

#include "support/rank_harness.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"

namespace switchyard::test {

class NcclHarness final : public RankHarness {
 public:
  [[nodiscard]] std::string name() const override { return "NCCL threads"; }

  std::vector<RankEnd> run(int num_ranks, CheckLevel check, std::function<void(Communicator&)> const& body) override {
    launch::ControlServer server(num_ranks, 0, "conformance", cuda::make_nccl_id());
    std::vector<RankEnd> ends(static_cast<std::size_t>(num_ranks));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < num_ranks; ++rank)
      threads.emplace_back(
          [&, rank] { ends[static_cast<std::size_t>(rank)] = run_rank(server.port(), rank, num_ranks, check, body); });
    for (std::thread& thread : threads) thread.join();
    return ends;
  }

  void update(std::function<void()> const& change) override {
    std::lock_guard const lock(mutex_);
    change();
    changed_.notify_all();
  }
  void wait_for(std::function<bool()> const& condition) override {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, condition);
  }
  [[nodiscard]] Duration short_deadline() const override { return Duration::zero(); }
  [[nodiscard]] bool virtual_time() const override { return false; }
  /// A group of GPUs takes about a second to start; launch_conformance_test has every case of the same control channel.
  [[nodiscard]] bool every_case(int /*num_ranks*/) const override { return false; }

 private:
  static RankEnd run_rank(int port, int rank, int num_ranks, CheckLevel check,
                          std::function<void(Communicator&)> const& body) {
    RankEnd end;
    try {
      if (cudaSetDevice(rank) != cudaSuccess) throw std::runtime_error("no device for this rank");
      launch::ControlClient control("127.0.0.1", port, "conformance", rank, num_ranks, std::chrono::seconds(60));
      cuda::NcclOptions options;
      options.check = check;
      cuda::NcclCommunicator comm(cuda::NcclHandle::create(control, std::chrono::seconds(60)), control, options);
      try {
        body(comm);
      } catch (std::exception const& error) {
        comm.fail(error.what());
        throw;
      }
    } catch (Error const& error) {
      end = {true, error.code(), error.what()};
    } catch (std::exception const& error) {
      end = {true, ErrorCode::internal, error.what()};
    }
    return end;
  }

  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace switchyard::test
