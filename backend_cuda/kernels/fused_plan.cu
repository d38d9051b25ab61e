// SPDX-License-Identifier: Apache-2.0
// The lists of the fused path from a plan on the device: one thread per token, and one per received row.
#include "cuda_error.hpp"
#include "fused_agreement.cuh"
#include "fused_grid.hpp"
#include "fused_plan_kernels.hpp"
#include "grid_stride.cuh"
#include "plan_launch.cuh"
#include "row_blocks.cuh"

namespace switchyard::cuda {

namespace {

constexpr int kMostRanks = 1024;

/// First row of every rank's block, and behind the last one their sum.
struct BlockStarts {
  std::int32_t sent[kMostRanks + 1];
  std::int32_t received[kMostRanks + 1];
};

class FusedPlanner {
 public:
  __device__ FusedPlanner(FusedPlanParams const& params, BlockStarts const& starts)
      : params_(params), starts_(starts), self_(params.windows.rank), world_(params.windows.world) {}

  /// Destinations of a token; `token` may be the one behind the last.
  __device__ void place_token(std::int64_t token) const {
    DeviceGather const& sent = params_.lists.sent;
    std::int64_t const planned = params_.lists.numbers->tokens;
    std::int64_t const begin = sent.row_begin[token < planned ? token : planned];
    std::int64_t const end = sent.row_begin[token + 1 < planned ? token + 1 : planned];
    // Rows to this rank itself are left out of the lists of what is sent: those of the tokens in front.
    std::int64_t const* const own = sent.token_of_row + starts_.sent[self_];
    std::int64_t const own_before = count_below(own, sent.token_of_row + starts_.sent[self_ + 1], token);
    std::int64_t next = begin - own_before;
    params_.sent_begin[token] = static_cast<std::int32_t>(next);
    params_.join_begin[token] = static_cast<std::int32_t>(begin);
    if (token >= params_.tokens) return;
    FusedTerms own_terms{0, 0};
    for (std::int64_t i = begin; i < end; ++i) {
      std::int64_t const row = sent.rows_of_token[i];
      std::int32_t const to = block_of(starts_.sent, world_, row);
      auto const place = static_cast<std::int32_t>(row - starts_.sent[to]);
      if (to == self_) {
        own_terms = terms_of(starts_.received[self_] + place);
        params_.join_slots[i] = -1;
        continue;
      }
      params_.join_slots[i] = slot_of_block(to, place);
      params_.sent_to[next] = to;
      params_.sent_slot[next++] = slot_of_block(self_, place);
    }
    params_.own_terms[token] = own_terms;
  }

  /// Where a received row goes on to, and where a peer's partial sum returns to.
  __device__ void place_received(std::int64_t row) const {
    DeviceGather const& expansion = params_.lists.expansion;
    FusedTerms const terms = terms_of(row);
    for (std::int64_t i = terms.begin; i < terms.end && i < params_.max_expert_rows; ++i) {
      std::int64_t const place = expansion.rows_of_token[i];
      params_.places[i] = static_cast<std::int32_t>(place);
      params_.term_column[i] =
          place < params_.max_expert_rows ? static_cast<std::int32_t>(expansion.slot_of_row[place]) : 0;
    }
    std::int32_t const from = block_of(starts_.received, world_, row);
    if (from == self_) return;
    auto const place = static_cast<std::int32_t>(row - starts_.received[from]);
    std::int64_t turn = 0;
    for (std::int32_t other = 0; other < world_; ++other) {
      std::int32_t const rows = starts_.received[other + 1] - starts_.received[other];
      std::int32_t const ahead = other < from ? place + 1 : place;
      if (other != self_) turn += rows < ahead ? rows : ahead;
    }
    params_.remote_terms[turn] = terms;
    params_.remote_from[turn] = from;
    params_.remote_slot[turn] = slot_of_block(from, place);
    params_.return_slot[turn] = slot_of_block(self_, place);
  }

 private:
  __device__ FusedTerms terms_of(std::int64_t row) const {
    std::int64_t const* const begin = params_.lists.expansion.row_begin + row;
    return {static_cast<std::int32_t>(begin[0]), static_cast<std::int32_t>(begin[1])};
  }
  __device__ std::int32_t slot_of_block(std::int32_t rank, std::int32_t place) const {
    return static_cast<std::int32_t>(rank * params_.windows.capacity) + place;
  }

  FusedPlanParams const& params_;
  BlockStarts const& starts_;
  std::int32_t self_;
  std::int32_t world_;
};

__global__ void fused_plan_kernel(FusedPlanParams params) {
  __shared__ BlockStarts starts;
  await_kernel_before();
  std::int32_t const world = params.windows.world;
  if (threadIdx.x < kWarp) sum_blocks(params.lists.rank_send, world, starts.sent);
  if (threadIdx.x >= kWarp && threadIdx.x < 2 * kWarp) sum_blocks(params.lists.rank_receive, world, starts.received);
  __syncthreads();
  std::int32_t const self = params.windows.rank;
  std::int64_t const received = starts.received[world];
  if (first_item() == 0) {
    *params.num_remote = received - (starts.received[self + 1] - starts.received[self]);
    if (*params.plan_error != 0) fail(params.windows, FusedError::bad_plan, self);
  }
  FusedPlanner const planner(params, starts);
  std::int64_t const tokens = params.tokens + 1;
  for (std::int64_t i = first_item(); i < tokens + received; i += item_stride())
    i < tokens ? planner.place_token(i) : planner.place_received(i - tokens);
}

}  // namespace

void load_fused_plan() {
  load_kernel(reinterpret_cast<void const*>(&fused_plan_kernel));
}

void launch_fused_plan(FusedPlanParams const& params, std::int64_t max_received, StreamView stream) {
  constexpr unsigned kMaxBlocks = 512;
  unsigned const wanted = grid_blocks(params.tokens + 1 + max_received);
  unsigned const blocks = wanted < kMaxBlocks ? wanted : kMaxBlocks;
  launch_close("fused_plan_kernel", &fused_plan_kernel, dim3(blocks), dim3(kBlockThreads), 0, stream, params);
}

}  // namespace switchyard::cuda
