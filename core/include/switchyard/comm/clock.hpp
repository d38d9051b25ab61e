// SPDX-License-Identifier: Apache-2.0
/// Time as the library sees it: a monotonic instant and durations in nanoseconds, real or virtual.
#pragma once

#include <chrono>

namespace switchyard {

using Duration = std::chrono::nanoseconds;
/// Nanoseconds since an arbitrary start; never wall time.
using Instant = std::chrono::time_point<struct MonotonicClock, Duration>;

/// The deadline of a wait that has none.
inline constexpr Instant kNever = Instant::max();

/// @return `start + length`, or kNever when that passes the last instant. Negative lengths count as zero.
[[nodiscard]] constexpr Instant deadline_after(Instant start, Duration length) noexcept {
  if (length < Duration::zero()) return start;
  return length >= kNever - start ? kNever : start + length;
}

/// A source of instants. Injected everywhere something waits, so that tests run on virtual time.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual Instant now() const = 0;
};

}  // namespace switchyard
