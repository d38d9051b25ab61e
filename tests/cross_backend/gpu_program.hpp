// SPDX-License-Identifier: Apache-2.0
/// The main of a GPU test program: skipped without a GPU, and any exception is a failure.
#pragma once

#include <cstdio>
#include <exception>

#include "switchyard/cuda/device.hpp"

namespace cross_backend {

/// @return what `run` returns, 77 without a GPU, 1 after an exception
template <typename Run>
int run_gpu_program(Run const& run) {
  constexpr int kSkipped = 77;
  if (switchyard::cuda::device_count() == 0) {
    std::printf("skipped: no CUDA device on this machine\n");
    return kSkipped;
  }
  try {
    return run();
  } catch (std::exception const& error) {
    std::printf("FAILED %s\n", error.what());
    return 1;
  }
}

}  // namespace cross_backend
