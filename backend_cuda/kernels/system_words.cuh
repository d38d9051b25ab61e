// SPDX-License-Identifier: Apache-2.0
/// Loads and stores of words that other GPUs see. A host compiler gets declarations only: an emulation defines them.
#pragma once

#include <cstdint>

namespace switchyard::cuda {

#if defined(__CUDACC__)

__device__ inline std::uint64_t load_acquire(std::uint64_t const* from) {
  std::uint64_t value = 0;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
  return value;
}
__device__ inline void store_release(std::uint64_t* to, std::uint64_t value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" : : "l"(to), "l"(value) : "memory");
}
/// A word that says by itself whose operation's it is needs no order beside others.
__device__ inline std::uint64_t load_relaxed(std::uint64_t const* from) {
  std::uint64_t value = 0;
  asm volatile("ld.relaxed.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
  return value;
}
__device__ inline void store_relaxed(std::uint64_t* to, std::uint64_t value) {
  asm volatile("st.relaxed.sys.global.u64 [%0], %1;" : : "l"(to), "l"(value) : "memory");
}
/// The same for 16 bytes at a time, which are never seen in part.
__device__ inline void store_pair(void* to, std::uint64_t first, std::uint64_t second) {
  asm volatile("{ .reg .b128 pair; mov.b128 pair, {%1, %2}; st.relaxed.sys.global.b128 [%0], pair; }"
               :
               : "l"(to), "l"(first), "l"(second)
               : "memory");
}
__device__ inline void load_pair(void const* from, std::uint64_t& first, std::uint64_t& second) {
  asm volatile("{ .reg .b128 pair; ld.relaxed.sys.global.b128 pair, [%2]; mov.b128 {%0, %1}, pair; }"
               : "=l"(first), "=l"(second)
               : "l"(from)
               : "memory");
}
/// What this thread stores from now on is seen behind what it saw and stored.
__device__ inline void fence_system() {
  asm volatile("fence.acq_rel.sys;" : : : "memory");
}
__device__ inline std::uint64_t now_ns() {
  std::uint64_t value = 0;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(value));
  return value;
}
/// Waits until both have been loaded.
__device__ inline void await_loads(std::int32_t first, float second) {
  asm volatile("" : : "r"(first), "f"(second));
}
/// Two words that lie one behind the other, 16-byte aligned.
__device__ inline void load_two(void const* from, std::uint64_t& first, std::uint64_t& second) {
  asm volatile("ld.volatile.global.v2.u64 {%0, %1}, [%2];" : "=l"(first), "=l"(second) : "l"(from) : "memory");
}

#else

std::uint64_t load_acquire(std::uint64_t const* from);
void store_release(std::uint64_t* to, std::uint64_t value);
std::uint64_t load_relaxed(std::uint64_t const* from);
void store_relaxed(std::uint64_t* to, std::uint64_t value);
void store_pair(void* to, std::uint64_t first, std::uint64_t second);
void load_pair(void const* from, std::uint64_t& first, std::uint64_t& second);
void fence_system();
std::uint64_t now_ns();
void await_loads(std::int32_t first, float second);
void load_two(void const* from, std::uint64_t& first, std::uint64_t& second);

#endif

}  // namespace switchyard::cuda
