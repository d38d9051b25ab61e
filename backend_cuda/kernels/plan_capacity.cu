// SPDX-License-Identifier: Apache-2.0
// Capacity on the device. One block per expert finds the value of its last kept token by a radix selection over the
// column, eight bits at a time from the top, and gives what is left of the room to the lowest tokens of that value.
#include "cuda_error.hpp"
#include "grid_stride.cuh"
#include "plan_error.cuh"
#include "switchyard/hd/plan_step.hpp"

namespace switchyard::cuda {

namespace {

constexpr int kDigitBits = 8;
constexpr int kDigits = 1 << kDigitBits;
static_assert(kBlockThreads == kDigits, "one thread per digit");

__device__ std::int64_t entry_of(PlanCapacityParams const& params, std::int64_t token, std::int32_t expert) {
  return token * params.experts + expert;
}

__global__ void dense_clear_kernel(PlanCapacityParams params) {
  for (std::int64_t entry = first_item(); entry < params.tokens * params.experts; entry += item_stride()) {
    bool const chosen = params.map != nullptr && params.map[entry] != 0;
    params.dense_map[entry] = chosen ? 1 : 0;
    params.dense_weights[entry] = chosen ? params.weights[entry] : 0.0F;
    if (chosen && isnan(params.dense_weights[entry])) raise_choice_error(params.error, PlanError::bad_weight, entry);
  }
}

/// One thread per token, so that an expert named twice is seen.
__global__ void dense_fill_kernel(PlanCapacityParams params) {
  for (std::int64_t token = first_item(); token < params.tokens; token += item_stride())
    for (std::int32_t k = 0; k < params.top_k; ++k) {
      std::int64_t const flat = token * params.top_k + k;
      std::int32_t const expert = params.ids[flat];
      if (expert == -1) continue;
      if (expert < 0 || expert >= params.experts) {
        raise_choice_error(params.error, PlanError::bad_id, flat);
        continue;
      }
      std::int64_t const entry = entry_of(params, token, expert);
      if (params.dense_map[entry] != 0) raise_choice_error(params.error, PlanError::named_twice, flat);
      if (isnan(params.weights[flat])) raise_choice_error(params.error, PlanError::bad_weight, flat);
      params.dense_map[entry] = 1;
      params.dense_weights[entry] = params.weights[flat];
    }
}

/// What tokens of an expert compete by: larger ones are kept.
__device__ std::uint32_t value_of(PlanCapacityParams const& params, std::int64_t entry) {
  return params.by_weight ? hd::order_of_bits(__float_as_uint(params.dense_weights[entry])) : params.dense_map[entry];
}

struct Threshold {
  std::uint32_t value;  ///< of the last kept token
  std::int64_t equal;   ///< how many tokens of just this value are kept
};

/// Chooses the digit at `shift` of the threshold, given its higher digits.
__device__ void select_digit(PlanCapacityParams const& params, std::int32_t expert, int shift, Threshold& threshold,
                             std::uint32_t* rows_of_digit) {
  rows_of_digit[threadIdx.x] = 0;
  __syncthreads();
  std::uint64_t const higher = ~std::uint64_t{0} << (shift + kDigitBits);
  for (std::int64_t token = threadIdx.x; token < params.tokens; token += kDigits) {
    std::uint32_t const value = value_of(params, entry_of(params, token, expert));
    if ((value & higher) == (threshold.value & higher)) atomicAdd(&rows_of_digit[value >> shift & (kDigits - 1)], 1U);
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    int digit = kDigits - 1;
    while (digit > 0 && rows_of_digit[digit] < threshold.equal) threshold.equal -= rows_of_digit[digit--];
    threshold.value |= static_cast<std::uint32_t>(digit) << shift;
  }
  __syncthreads();
}

/// Tokens of the threshold's value in front of this thread's one, in the block's present batch of tokens.
__device__ std::int64_t equal_before(bool is_equal, std::uint32_t* of_warp, std::int64_t& all) {
  unsigned const mask = __ballot_sync(0xffffffffU, is_equal);
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = static_cast<std::uint32_t>(__popc(mask));
  __syncthreads();
  std::int64_t before = __popc(mask & ((1U << threadIdx.x % 32) - 1));
  for (unsigned warp = 0; warp < kDigits / 32; ++warp) {
    if (warp < threadIdx.x / 32) before += of_warp[warp];
    all += of_warp[warp];
  }
  __syncthreads();
  return before;
}

__device__ void keep(PlanCapacityParams const& params, std::int64_t entry, bool is_first) {
  bool const chosen = params.dense_map[entry] != 0;
  bool const kept = is_first && (chosen || params.pads);
  params.kept_map[entry] = kept ? 1 : 0;
  params.kept_weights[entry] = kept && chosen ? params.dense_weights[entry] : 0.0F;
}

__global__ void capacity_kernel(PlanCapacityParams params) {
  __shared__ std::uint32_t rows_of_digit[kDigits];
  __shared__ Threshold threshold;
  auto const expert = static_cast<std::int32_t>(blockIdx.x);
  bool const takes_all = params.capacity >= params.tokens;
  if (threadIdx.x == 0) threshold = {0, params.capacity};
  __syncthreads();
  for (int shift = 32 - kDigitBits; shift >= 0 && !takes_all; shift -= kDigitBits)
    select_digit(params, expert, shift, threshold, rows_of_digit);
  std::int64_t before = 0;
  for (std::int64_t first = 0; first < params.tokens; first += kDigits) {
    std::int64_t const token = first + threadIdx.x;
    bool const is_token = token < params.tokens;
    std::int64_t const entry = is_token ? entry_of(params, token, expert) : 0;
    std::uint32_t const value = is_token ? value_of(params, entry) : 0;
    bool const is_equal = is_token && value == threshold.value;
    std::int64_t batch = 0;
    std::int64_t const place = before + equal_before(is_equal, rows_of_digit, batch);
    before += batch;
    bool const is_first =
        takes_all || (params.capacity > 0 && (value > threshold.value || (is_equal && place < threshold.equal)));
    if (is_token) keep(params, entry, is_first);
  }
}

}  // namespace

void launch_plan_capacity(PlanCapacityParams const& params, StreamView stream) {
  if (params.tokens <= 0 || params.experts <= 0) return;
  dense_clear_kernel<<<grid_blocks(params.tokens * params.experts), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("dense_clear_kernel");
  if (params.map == nullptr) {
    dense_fill_kernel<<<grid_blocks(params.tokens), kBlockThreads, 0, stream.handle()>>>(params);
    check_launch("dense_fill_kernel");
  }
  capacity_kernel<<<static_cast<unsigned>(params.experts), kBlockThreads, 0, stream.handle()>>>(params);
  check_launch("capacity_kernel");
}

}  // namespace switchyard::cuda
