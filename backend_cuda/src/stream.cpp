// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/stream.hpp"

#include <utility>

#include "cuda_error.hpp"
#include "switchyard/cuda/event.hpp"

namespace switchyard::cuda {

void StreamView::synchronize() const {
  SWITCHYARD_CUDA_TRY(cudaStreamSynchronize(handle_));
}

void StreamView::wait(EventView event) const {
  SWITCHYARD_CUDA_TRY(cudaStreamWaitEvent(handle_, event.handle(), 0));
}

Stream::Stream() {
  SWITCHYARD_CUDA_TRY(cudaStreamCreateWithFlags(&handle_, cudaStreamNonBlocking));
}

Stream::~Stream() {
  // A destructor cannot report; a broken context has already been reported by the call that broke it.
  if (handle_ != nullptr) (void)cudaStreamDestroy(handle_);
}

Stream::Stream(Stream&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}

Stream& Stream::operator=(Stream&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

}  // namespace switchyard::cuda
