// SPDX-License-Identifier: Apache-2.0
/// run_rank_threads(): a benchmark's ranks as threads of one process, joined by a control server.
#pragma once

#include <cstdio>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "switchyard/cuda/nccl_communicator.hpp"
#include "switchyard/launch/control.hpp"

namespace gpu_bench {

/// @param run called with the server's port and a rank, on a thread of its own. @return whether none of them threw;
/// what they threw is printed
template <typename Run>
bool run_rank_threads(int ranks, Run const& run) {
  switchyard::launch::ControlServer server(ranks, 0, "bench", switchyard::cuda::make_nccl_id());
  std::vector<std::thread> threads;
  std::vector<std::string> problems(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      try {
        run(server.port(), rank);
      } catch (std::exception const& error) {
        problems[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  bool is_fine = true;
  for (std::string const& problem : problems) {
    if (problem.empty()) continue;
    std::printf("FAILED %s\n", problem.c_str());
    is_fine = false;
  }
  return is_fine;
}

}  // namespace gpu_bench
