// SPDX-License-Identifier: Apache-2.0
// The checksum of an expert row. The integer atomic is exact: a sum modulo 2^64 has no order.
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "rebalance_checksum.hpp"
#include "switchyard/hd/checksum_word.hpp"

namespace switchyard::cuda {
namespace {

constexpr std::int64_t kWord = 8;

__device__ std::uint64_t load_word(std::uint8_t const* from, std::int64_t count) {
  std::uint64_t word = 0;
  for (std::int64_t i = 0; i < count; ++i) word |= static_cast<std::uint64_t>(from[i]) << (8 * i);
  return word;
}

/// Of two words at an aligned address.
__device__ std::uint64_t checksum_pair(ulonglong2 const* pairs, std::int64_t i) {
  ulonglong2 const pair = __ldcs(pairs + i);
  auto const index = static_cast<std::uint64_t>(2 * i);
  return hd::checksum_word(index, pair.x) + hd::checksum_word(index + 1, pair.y);
}

__global__ void byte_checksum_kernel(std::uint8_t const* data, std::int64_t bytes, unsigned long long* sum) {
  std::int64_t const whole = bytes / kWord;
  bool const aligned = reinterpret_cast<std::uintptr_t>(data) % sizeof(ulonglong2) == 0;
  std::int64_t const pairs = aligned ? whole / 2 : 0;
  std::uint64_t mine = 0;
#pragma unroll 4
  for (std::int64_t i = first_item(); i < pairs; i += item_stride())
    mine += checksum_pair(reinterpret_cast<ulonglong2 const*>(data), i);
  bool const has_words = reinterpret_cast<std::uintptr_t>(data) % kWord == 0;
  for (std::int64_t i = 2 * pairs + first_item(); i < whole; i += item_stride())
    mine += hd::checksum_word(static_cast<std::uint64_t>(i), has_words ? reinterpret_cast<std::uint64_t const*>(data)[i]
                                                                       : load_word(data + i * kWord, kWord));
  if (first_item() == 0) {
    mine += hd::mix64(static_cast<std::uint64_t>(bytes));
    if (bytes % kWord != 0)
      mine += hd::checksum_word(static_cast<std::uint64_t>(whole), load_word(data + whole * kWord, bytes % kWord));
  }
  for (int lanes = 16; lanes > 0; lanes /= 2) mine += __shfl_xor_sync(0xffffffffu, mine, lanes);
  if (threadIdx.x % 32 == 0) atomicAdd(sum, static_cast<unsigned long long>(mine));
}

}  // namespace

#ifdef __CUDACC__  // launches; tests run the code above on the host
void launch_byte_checksum(void const* data, std::int64_t bytes, std::uint64_t* sum, StreamView stream) {
  constexpr std::int64_t kMostBlocks = 1056;  // eight for each of 132 multiprocessors
  std::int64_t const words = bytes / kWord + 1;
  auto const blocks = grid_blocks(words < kMostBlocks * kBlockThreads ? words : kMostBlocks * kBlockThreads);
  SWITCHYARD_CUDA_TRY(cudaMemsetAsync(sum, 0, sizeof(*sum), stream.handle()));
  byte_checksum_kernel<<<blocks, kBlockThreads, 0, stream.handle()>>>(static_cast<std::uint8_t const*>(data), bytes,
                                                                      reinterpret_cast<unsigned long long*>(sum));
  check_launch("byte_checksum_kernel");
}
#endif

}  // namespace switchyard::cuda
