// SPDX-License-Identifier: Apache-2.0
/// What every benchmark program does around its run: usage, a machine without a GPU, and how a failure ends.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <exception>

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

/// The same for programs that take [ranks] (default 2). @param run called with <out.json> and the number of ranks
template <typename Run>
int run_rank_program(int argc, char** argv, Run const& run) {
  int const ranks = argc > 2 ? std::atoi(argv[2]) : 2;
  return run_program(
      argc > 2 ? 2 : argc, argv, [&](char const* path) { return run(path, ranks); },
      "<out.json> [ranks], on a machine with a GPU per rank");
}

}  // namespace gpu_bench
