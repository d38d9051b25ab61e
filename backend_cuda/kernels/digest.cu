// SPDX-License-Identifier: Apache-2.0
// Fingerprint words and Philox on the device. The integer atomic is exact: a sum modulo 2^64 has no order.
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "switchyard/cuda/digest.hpp"
#include "switchyard/hd/mix.hpp"
#include "switchyard/hd/philox.hpp"

namespace switchyard::cuda {

namespace {

__global__ void fingerprint_kernel(FingerprintParams params) {
  std::uint64_t sum = 0;
  for (std::int64_t i = first_item(); i < params.count; i += item_stride())
    sum += hd::fingerprint_word(params.field, static_cast<std::uint64_t>(i), params.values[i]);
  atomicAdd(reinterpret_cast<unsigned long long*>(params.sum), static_cast<unsigned long long>(sum));
}

__global__ void random_bits_kernel(RandomBitsParams params) {
  for (std::int64_t i = first_item(); i < params.count; i += item_stride())
    params.output[i] =
        hd::philox_bits(params.seed, params.stream_id, params.first_index + static_cast<std::uint64_t>(i));
}

}  // namespace

void launch_fingerprint(FingerprintParams const& params, StreamView stream) {
  if (params.count <= 0) return;
  fingerprint_kernel<<<grid_blocks(params.count), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("fingerprint_kernel");
}

void launch_random_bits(RandomBitsParams const& params, StreamView stream) {
  if (params.count <= 0) return;
  random_bits_kernel<<<grid_blocks(params.count), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("random_bits_kernel");
}

}  // namespace switchyard::cuda
