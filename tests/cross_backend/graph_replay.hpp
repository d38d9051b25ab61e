// SPDX-License-Identifier: Apache-2.0
/// Capture of a step in a graph, in global mode, which refuses what is unsafe to capture on any thread and any use of
/// the default stream; and its replays.
#pragma once

#include <cuda_runtime_api.h>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/types/error.hpp"

namespace cross_backend {

/// Owns a captured graph.
class CapturedStep {
 public:
  /// @throws Error{cuda} where the step cannot be captured
  template <typename Step>
  CapturedStep(switchyard::cuda::StreamView stream, Step const& step) : stream_(stream) {
    bool ok = cudaStreamBeginCapture(stream.handle(), cudaStreamCaptureModeGlobal) == cudaSuccess;
    step();
    ok = cudaStreamEndCapture(stream.handle(), &graph_) == cudaSuccess && ok;
    ok = ok && cudaGraphInstantiate(&runnable_, graph_, 0) == cudaSuccess;
    if (ok) return;
    destroy();
    throw switchyard::Error(switchyard::ErrorCode::cuda, "a step could not be captured");
  }
  ~CapturedStep() { destroy(); }
  CapturedStep(CapturedStep const&) = delete;
  CapturedStep& operator=(CapturedStep const&) = delete;
  void launch() const {
    if (cudaGraphLaunch(runnable_, stream_.handle()) != cudaSuccess)
      throw switchyard::Error(switchyard::ErrorCode::cuda, "a captured step was not launched");
  }

 private:
  void destroy() {
    if (runnable_ != nullptr) static_cast<void>(cudaGraphExecDestroy(runnable_));
    if (graph_ != nullptr) static_cast<void>(cudaGraphDestroy(graph_));
  }

  switchyard::cuda::StreamView stream_;
  cudaGraph_t graph_ = nullptr;
  cudaGraphExec_t runnable_ = nullptr;
};

/// Captures `step` and runs it `replays` times. @return whether that was possible
template <typename Step>
bool replay(switchyard::cuda::StreamView stream, int replays, Step const& step) {
  try {
    CapturedStep const captured(stream, step);
    for (int i = 0; i < replays; ++i) captured.launch();
    stream.synchronize();
  } catch (switchyard::Error const& error) {
    if (error.code() != switchyard::ErrorCode::cuda) throw;
    return false;
  }
  return true;
}

}  // namespace cross_backend
