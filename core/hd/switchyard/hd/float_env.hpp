// SPDX-License-Identifier: Apache-2.0
/// FloatEnvGuard: the float environment that the determinism contract needs, for the lifetime of the object.
#pragma once

#include <cfenv>
#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace switchyard::hd {

/// Sets round-to-nearest, subnormals kept (no FTZ, no DAZ) and no traps on the calling thread, and restores what was
/// there on destruction (DESIGN 2.7). Host only; a kernel's rounding is part of its instructions. Not movable: it
/// belongs to a scope of one thread.
class FloatEnvGuard {
 public:
  FloatEnvGuard() noexcept {
    std::feholdexcept(&saved_);
    std::fesetround(FE_TONEAREST);
    keep_subnormals();
  }
  ~FloatEnvGuard() { std::fesetenv(&saved_); }
  FloatEnvGuard(FloatEnvGuard const&) = delete;
  FloatEnvGuard& operator=(FloatEnvGuard const&) = delete;

 private:
  static void keep_subnormals() noexcept {
#if defined(__x86_64__)
    constexpr unsigned kFlushToZero = 0x8000;
    constexpr unsigned kDenormalsAreZero = 0x0040;
    _mm_setcsr(_mm_getcsr() & ~(kFlushToZero | kDenormalsAreZero));
#elif defined(__aarch64__)
    constexpr std::uint64_t kFlushToZero = std::uint64_t{1} << 24;
    std::uint64_t control = 0;
    __asm__ volatile("mrs %0, fpcr" : "=r"(control));
    __asm__ volatile("msr fpcr, %0" : : "r"(control & ~kFlushToZero));
#endif
  }

  std::fenv_t saved_{};
};

}  // namespace switchyard::hd
