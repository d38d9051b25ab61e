// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/event.hpp"

#include <utility>

#include "cuda_error.hpp"

namespace switchyard::cuda {

void EventView::record(StreamView stream) const {
  SWITCHYARD_CUDA_TRY(cudaEventRecord(handle_, stream.handle()));
}

void EventView::synchronize() const {
  SWITCHYARD_CUDA_TRY(cudaEventSynchronize(handle_));
}

Event::Event(EventTiming timing) {
  unsigned const flags = timing == EventTiming::on ? cudaEventDefault : cudaEventDisableTiming;
  SWITCHYARD_CUDA_TRY(cudaEventCreateWithFlags(&handle_, flags));
}

Event::~Event() {
  if (handle_ != nullptr) (void)cudaEventDestroy(handle_);
}

Event::Event(Event&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}

Event& Event::operator=(Event&& other) noexcept {
  std::swap(handle_, other.handle_);
  return *this;
}

double elapsed_us(EventView begin, EventView end) {
  float milliseconds = 0;
  SWITCHYARD_CUDA_TRY(cudaEventElapsedTime(&milliseconds, begin.handle(), end.handle()));
  return static_cast<double>(milliseconds) * 1e3;
}

}  // namespace switchyard::cuda
