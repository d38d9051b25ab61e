// SPDX-License-Identifier: Apache-2.0
/// Time as the library sees it: a monotonic instant and durations in nanoseconds, real or virtual.
#pragma once

#include <chrono>

namespace switchyard {

using Duration = std::chrono::nanoseconds;
/// Nanoseconds since an arbitrary start; never wall time.
using Instant = std::chrono::time_point<struct MonotonicClock, Duration>;

/// A source of instants. Injected everywhere something waits, so that tests run on virtual time.
class Clock {
 public:
  virtual ~Clock() = default;
  [[nodiscard]] virtual Instant now() const = 0;
};

}  // namespace switchyard
