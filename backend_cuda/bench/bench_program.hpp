// SPDX-License-Identifier: Apache-2.0
/// What every benchmark program does around its run: usage, a machine without a GPU, and how a failure ends.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "bench_json.hpp"
#include "gpu_benches.hpp"
#include "kernel_timer.hpp"
#include "switchyard/cuda/device.hpp"

namespace gpu_bench {

/// @param run called with <out.json>; its value is the exit code. @return 2 on wrong use, 77 without a GPU, 1 on a
/// failure
template <typename Run>
int run_program(int argc, char** argv, Run const& run, char const* usage = "<out.json>, on a machine with a GPU") {
  constexpr int kSkipped = 77;
  if (argc != 2 || switchyard::cuda::device_count() == 0) {
    std::printf("usage: %s %s\n", argv[0], usage);
    return argc != 2 ? 2 : kSkipped;
  }
  try {
    return run(argv[1]);
  } catch (std::exception const& error) {
    std::printf("FAILED %s\n", error.what());
    return 1;
  }
}

/// @return the exit code: whether all was written
inline int finish(Results const& results, char const* path) {
  if (results.is_open()) return 0;
  std::printf("cannot write %s\n", path);
  return 1;
}

/// The same for kernels of one GPU. @param run called with the results, which name the device, and a timer
template <typename Run>
int run_kernel_program(int argc, char** argv, Run const& run, CacheState cache = CacheState::cold) {
  return run_program(argc, argv, [&](char const* path) {
    Results results(path);
    if (!results.is_open()) return finish(results, path);
    results.add_text("device", switchyard::cuda::describe_device());
    KernelTimer timer(cache);
    run(results, timer);
    return finish(results, path);
  });
}

/// The same for programs that take [ranks] (default 2). @param run called with <out.json> and the number of ranks
template <typename Run>
int run_rank_program(int argc, char** argv, Run const& run) {
  int const ranks = argc > 2 ? std::atoi(argv[2]) : 2;
  return run_program(
      argc > 2 ? 2 : argc, argv,
      [&](char const* path) {
        if (ranks >= 1 && ranks <= switchyard::cuda::device_count()) return run(path, ranks);
        std::printf("%d ranks need more than %d GPUs\n", ranks, switchyard::cuda::device_count());
        return 1;
      },
      "<out.json> [ranks], on a machine with a GPU per rank");
}

/// The same with results, which name the device and NCCL. @param run called with the results and the number of ranks
template <typename Run>
int run_rank_results(int argc, char** argv, Run const& run) {
  return run_rank_program(argc, argv, [&](char const* path, int ranks) {
    Results results(path);
    results.add_text("device", switchyard::cuda::describe_device());
    results.add_text("nccl", describe_ranks());
    run(results, ranks);
    return finish(results, path);
  });
}

}  // namespace gpu_bench
