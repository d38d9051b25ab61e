// SPDX-License-Identifier: Apache-2.0
// The fingerprint of a plan that lies on the device. Lengths are read there, too; the integer atomic is exact.
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "planner_kernels.hpp"
#include "switchyard/hd/mix.hpp"

namespace switchyard::cuda {

namespace {

__global__ void plan_digest_start_kernel(PlanDigestParams params) {
  *params.result = params.base;
}

__global__ void plan_digest_kernel(PlanDigestParams params) {
  PlanList const& list = params.lists[blockIdx.y];
  std::int64_t const length = list.fixed_count + (list.count_at >= 0 ? params.numbers[list.count_at] : 0);
  std::int64_t const count = length < list.max_count ? length : list.max_count;
  std::uint64_t sum = 0;
  for (std::int64_t i = first_item(); i < count; i += item_stride())
    sum += hd::fingerprint_word(list.field, static_cast<std::uint64_t>(i), list.values[i]);
  if (first_item() == 0) sum += hd::fingerprint_word(list.field, hd::kFingerprintLengthIndex, length);
  for (int distance = 16; distance > 0; distance /= 2) sum += __shfl_down_sync(0xffffffffU, sum, distance);
  if (threadIdx.x % 32 == 0 && sum != 0)
    atomicAdd(reinterpret_cast<unsigned long long*>(params.result), static_cast<unsigned long long>(sum));
}

}  // namespace

void launch_plan_digest(PlanDigestParams const& params, StreamView stream) {
  plan_digest_start_kernel<<<1, 1, 0, stream.handle()>>>(params);
  check_launch("plan_digest_start_kernel");
  if (params.count == 0) return;
  constexpr std::int64_t kMaxBlocks = 32;
  std::int64_t most = 1;
  for (std::int32_t i = 0; i < params.count; ++i)
    most = params.lists[i].max_count > most ? params.lists[i].max_count : most;
  std::int64_t const wanted = grid_blocks(most);
  dim3 const grid(static_cast<unsigned>(wanted < kMaxBlocks ? wanted : kMaxBlocks),
                  static_cast<unsigned>(params.count));
  plan_digest_kernel<<<grid, kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("plan_digest_kernel");
}

}  // namespace switchyard::cuda
