// SPDX-License-Identifier: Apache-2.0
/// CapturedSteps: launches captured once, to be timed as replays of a graph. Ranks that are threads of one process
/// capture beside each other; tests capture in global mode.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/types/error.hpp"

namespace gpu_bench {

class CapturedSteps {
 public:
  CapturedSteps(switchyard::cuda::StreamView stream, std::function<void()> const& work) : stream_(stream) {
    cudaGraph_t graph = nullptr;
    bool ok = cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeThreadLocal) == cudaSuccess;
    work();
    ok = cudaStreamEndCapture(stream.handle(), &graph) == cudaSuccess && ok;
    ok = ok && cudaGraphInstantiate(&runnable_, graph, 0) == cudaSuccess;
    if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
    if (!ok) throw switchyard::Error(switchyard::ErrorCode::cuda, "the steps to be timed could not be captured");
  }
  ~CapturedSteps() { static_cast<void>(cudaGraphExecDestroy(runnable_)); }
  CapturedSteps(CapturedSteps const&) = delete;
  CapturedSteps& operator=(CapturedSteps const&) = delete;
  void launch() const { static_cast<void>(cudaGraphLaunch(runnable_, stream_.handle())); }

 private:
  switchyard::cuda::StreamView stream_;
  cudaGraphExec_t runnable_ = nullptr;
};

}  // namespace gpu_bench
