// SPDX-License-Identifier: Apache-2.0
/// Capture of a step in a graph, in global mode, which refuses what is unsafe to capture on any thread and any use of
/// the default stream; and its replays.
#pragma once

#include <cuda_runtime_api.h>

#include "switchyard/cuda/stream.hpp"

namespace cross_backend {

/// Captures `step` and runs it `replays` times. @return whether that was possible
template <typename Step>
bool replay(switchyard::cuda::StreamView stream, int replays, Step const& step) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t runnable = nullptr;
  bool ok = cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeGlobal) == cudaSuccess;
  step();
  ok = cudaStreamEndCapture(stream.handle(), &graph) == cudaSuccess && ok;
  ok = ok && cudaGraphInstantiate(&runnable, graph, 0) == cudaSuccess;
  for (int i = 0; ok && i < replays; ++i) ok = cudaGraphLaunch(runnable, stream.handle()) == cudaSuccess;
  stream.synchronize();
  if (runnable != nullptr) static_cast<void>(cudaGraphExecDestroy(runnable));
  if (graph != nullptr) static_cast<void>(cudaGraphDestroy(graph));
  return ok;
}

}  // namespace cross_backend
