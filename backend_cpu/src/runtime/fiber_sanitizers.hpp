// SPDX-License-Identifier: Apache-2.0
/// What AddressSanitizer and ThreadSanitizer must be told when a fiber switches stacks; nothing in other builds.
#pragma once

#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SWITCHYARD_FIBER_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define SWITCHYARD_FIBER_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define SWITCHYARD_FIBER_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define SWITCHYARD_FIBER_TSAN 1
#endif

#if defined(SWITCHYARD_FIBER_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(SWITCHYARD_FIBER_TSAN)
#include <sanitizer/tsan_interface.h>
#endif

namespace switchyard::cpu::sanitizer {

/// Before a switch to the stack [bottom, bottom + size). `save` keeps this stack's shadow; null = this stack dies.
inline void start_switch([[maybe_unused]] void** save, [[maybe_unused]] void const* bottom,
                         [[maybe_unused]] std::size_t size) {
#if defined(SWITCHYARD_FIBER_ASAN)
  __sanitizer_start_switch_fiber(save, bottom, size);
#endif
}

/// After a switch: `saved` is what start_switch saved here; `from`/`from_size` receive the stack we came from.
inline void finish_switch([[maybe_unused]] void* saved, [[maybe_unused]] void const** from,
                          [[maybe_unused]] std::size_t* from_size) {
#if defined(SWITCHYARD_FIBER_ASAN)
  __sanitizer_finish_switch_fiber(saved, from, from_size);
#endif
}

/// A reused mapping must not inherit the redzones of the frames that lived there before.
inline void forget_stack([[maybe_unused]] void* bottom, [[maybe_unused]] std::size_t size) {
#if defined(SWITCHYARD_FIBER_ASAN)
  __asan_unpoison_memory_region(bottom, size);
#endif
}

inline void* create_thread_state() {
#if defined(SWITCHYARD_FIBER_TSAN)
  return __tsan_create_fiber(0);
#else
  return nullptr;
#endif
}
inline void destroy_thread_state([[maybe_unused]] void* state) {
#if defined(SWITCHYARD_FIBER_TSAN)
  __tsan_destroy_fiber(state);
#endif
}
inline void* current_thread_state() {
#if defined(SWITCHYARD_FIBER_TSAN)
  return __tsan_get_current_fiber();
#else
  return nullptr;
#endif
}
inline void switch_thread_state([[maybe_unused]] void* state) {
#if defined(SWITCHYARD_FIBER_TSAN)
  __tsan_switch_to_fiber(state, 0);
#endif
}

}  // namespace switchyard::cpu::sanitizer
