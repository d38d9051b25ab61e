// SPDX-License-Identifier: Apache-2.0
// The meeting of the fused path: one thread per peer. A signal carries the operation's number, so that one left over
// from an earlier operation is never taken for this one's; a wait ends at the deadline with the error word set.
#include "cuda_error.hpp"
#include "fused_window.cuh"

namespace switchyard::cuda {

namespace {

__device__ FusedSignal* signal_of(std::byte* window, std::uint64_t generation, int world, int rank) {
  auto* const signals = reinterpret_cast<FusedSignal*>(window);
  return signals + static_cast<std::int64_t>(generation & 1) * world + rank;
}
__device__ std::uint64_t load_acquire(std::uint64_t const* from) {
  std::uint64_t value = 0;
  asm volatile("ld.acquire.sys.global.u64 %0, [%1];" : "=l"(value) : "l"(from) : "memory");
  return value;
}
__device__ void store_release(std::uint64_t* to, std::uint64_t value) {
  asm volatile("st.release.sys.global.u64 [%0], %1;" : : "l"(to), "l"(value) : "memory");
}
__device__ std::uint64_t now_ns() {
  std::uint64_t value = 0;
  asm volatile("mov.u64 %0, %globaltimer;" : "=l"(value));
  return value;
}

__device__ FusedError await(FusedMeetParams const& params, FusedSignal const* signal, std::uint64_t generation,
                            unsigned peer) {
  std::uint64_t const start = now_ns();
  while (load_acquire(&signal->generation) != generation)
    if (now_ns() - start > params.deadline_ns) return FusedError::timeout;
  if (signal->digest != params.digest) return FusedError::other_call;
  return signal->rows == static_cast<std::uint64_t>(params.expected[peer]) ? FusedError::none : FusedError::other_rows;
}

__global__ void fused_meet_kernel(FusedMeetParams params) {
  FusedWindows const& windows = params.windows;
  std::uint64_t const generation = writing(windows);
  bool const has_error = has_failed(windows);
  __syncthreads();
  if (threadIdx.x < static_cast<unsigned>(windows.world)) {
    unsigned const peer = threadIdx.x;
    FusedSignal* const there = signal_of(windows.peers[peer], generation, windows.world, windows.rank);
    there->digest = params.digest;
    there->rows = static_cast<std::uint64_t>(params.sent[peer]);
    __threadfence_system();
    store_release(&there->generation, generation);
    FusedError found = FusedError::none;
    if (!has_error)
      found =
          await(params, signal_of(windows.own, generation, windows.world, static_cast<int>(peer)), generation, peer);
    if (found != FusedError::none) atomicCAS(windows.error, 0ULL, static_cast<unsigned long long>(found) << 32 | peer);
  }
  __syncthreads();
  if (threadIdx.x == 0) *windows.generation = generation + 1;
}

}  // namespace

void load_fused_meet() {
  cudaFuncAttributes attributes{};
  SWITCHYARD_CUDA_TRY(cudaFuncGetAttributes(&attributes, reinterpret_cast<void const*>(&fused_meet_kernel)));
}

void launch_fused_meet(FusedMeetParams const& params, StreamView stream) {
  auto const threads = static_cast<unsigned>((params.windows.world + 31) / 32 * 32);
  fused_meet_kernel<<<1, threads, 0, stream.handle()>>>(params);
  check_launch("fused_meet_kernel");
}

}  // namespace switchyard::cuda
