// SPDX-License-Identifier: Apache-2.0
/// The sticky word of what kernels of the router found in their data, and its text. Free of fmt, so that kernels may
/// include it.
#pragma once

#include <cstdint>

#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/pinned_buffer.hpp"
#include "switchyard/hd/router_logit.hpp"

namespace switchyard::cuda {

/// What the word's top three bits say, most urgent first: core looks for faults in this order. Below them:
enum class RouterFault : std::uint32_t {
  bias,       ///< expert << 32 | its bits
  selection,  ///< token * experts + expert
  dropped,    ///< token * top_k + slot, whose id is -1
  bad_id,     ///< token * top_k + slot, whose id is no expert
  logit,      ///< (token * experts + expert) * 2, plus 1 for +inf
  log_sum,    ///< token * 2, plus 1 for -inf
  count,      ///< expert whose count is negative, or makes their sum too large
  sinkhorn,   ///< token * experts + expert, whose e^logit overflows; never all ones
};
inline constexpr int kRouterFaultShift = 61;

/// What a text names beside the word.
struct RouterFaultFacts {
  hd::LogitRules rules{};
  std::int64_t experts = 1;
  std::int64_t top_k = 1;
};

/// The word on the device, all ones without a fault; of several the smallest stays.
class RouterFaultWord {
 public:
  RouterFaultWord();
  [[nodiscard]] unsigned long long* get() const noexcept { return device_.as<unsigned long long>(); }
  void forget(StreamView stream) const;
  /// Waits for the stream. @throws Error{invalid_argument} with core's text
  void check(RouterFaultFacts const& facts, StreamView stream) const;

 private:
  DeviceBuffer device_;
  PinnedBuffer host_;
};

}  // namespace switchyard::cuda
