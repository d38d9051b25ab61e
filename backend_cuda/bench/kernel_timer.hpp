// SPDX-License-Identifier: Apache-2.0
/// KernelTimer: samples of work on a stream by events.
#pragma once

#include <functional>
#include <vector>

#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/event.hpp"

namespace gpu_bench {

/// What the second-level cache holds when a sample begins: other bytes, or what the one before left there.
enum class CacheState { cold, warm };

class KernelTimer {
 public:
  static constexpr int kSamples = 30;
  static constexpr int kWarmups = 5;

  explicit KernelTimer(CacheState cache) : flush_(cache == CacheState::cold ? 256 << 20 : 0) {}
  [[nodiscard]] switchyard::cuda::StreamView stream() const { return stream_; }
  /// @return microseconds of every run of `work` but the first kWarmups
  std::vector<double> sample(std::function<void()> const& work) {
    std::vector<double> samples;
    for (int i = -kWarmups; i < kSamples; ++i) {
      switchyard::cuda::fill_bytes(flush_, static_cast<std::uint8_t>(i + 8), stream_);
      begin_.view().record(stream_);
      work();
      end_.view().record(stream_);
      end_.view().synchronize();
      if (i >= 0) samples.push_back(switchyard::cuda::elapsed_us(begin_, end_));
    }
    return samples;
  }

 private:
  switchyard::cuda::Stream stream_;
  switchyard::cuda::DeviceBuffer flush_;
  switchyard::cuda::Event begin_{switchyard::cuda::EventTiming::on};
  switchyard::cuda::Event end_{switchyard::cuda::EventTiming::on};
};

}  // namespace gpu_bench
