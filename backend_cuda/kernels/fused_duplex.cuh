// SPDX-License-Identifier: Apache-2.0
/// run_duplex(): one direction of the fused path as one kernel. Blocks draw items: rows to produce for peers, and rows
/// to consume that peers produce; whatever has arrived is consumed between two items to produce, so that links, memory
/// and the second-level cache work at the same time.
///
/// A block waits for a row only when every item to produce has been drawn, by blocks that run and do not wait before
/// they have produced it: no number of resident blocks and no order of starting them can deadlock.
#pragma once

#include "fused_agreement.cuh"
#include "fused_close.cuh"

namespace switchyard::cuda {

/// What a block does next; indices count groups of blockDim.y rows.
struct DuplexItem {
  enum class Kind : int { signals, produce, agree, consume, end };
  Kind kind = Kind::end;
  std::int64_t index = 0;
};

/// The choices of one block, made by its first thread. `Work` gives num_produce() and num_consume() in rows, and
/// slots(row, count): the slots of the own window that a row to consume needs, negative ones left out.
template <typename Work>
class DuplexChoice {
 public:
  __device__ DuplexChoice(FusedCall const& call, Work const& work, std::uint64_t generation)
      : call_(call), work_(work), generation_(generation) {}

  __device__ DuplexItem next() {
    using Kind = DuplexItem::Kind;
    bool const turn = has_produced_;
    has_produced_ = false;
    draw_ahead();  // under way while the tags are read
    if (turn && may_consume() && has_arrived(held_)) return consume();
    if (ahead_ <= groups(work_.num_produce())) {
      has_produced_ = true;
      std::int64_t const drawn = ahead_;
      ahead_ = -1;
      return drawn == 0 ? DuplexItem{Kind::signals, 0} : DuplexItem{Kind::produce, drawn - 1};
    }
    if (!may_consume()) return {};
    if (!has_agreed_) return consume();
    return await(held_) ? consume() : DuplexItem{};
  }

 private:
  __device__ static std::int64_t draw(unsigned& counter) { return atomicAdd(&counter, 1U); }
  __device__ static std::int64_t groups(std::int64_t rows) { return (rows + blockDim.y - 1) / blockDim.y; }

  /// A ticket beyond the last item stays: nothing is left to draw.
  __device__ void draw_ahead() {
    if (ahead_ < 0) ahead_ = draw(call_.windows.progress->produced);
  }
  /// A block's first group has the block's number: others wait for its rows, never for its consuming them.
  __device__ bool may_consume() {
    if (held_ < 0) held_ = gridDim.x + draw(call_.windows.progress->consumed);
    return held_ < groups(work_.num_consume());
  }

  __device__ DuplexItem consume() {
    if (!has_agreed_) {
      has_agreed_ = true;
      has_produced_ = true;  // the row in hand is next
      return {DuplexItem::Kind::agree, 0};
    }
    DuplexItem const item{DuplexItem::Kind::consume, held_};
    held_ = -1;
    return item;
  }

  /// Calls has(slot) for every slot that the group needs until one is not had.
  template <typename Has>
  __device__ bool every_slot(std::int64_t group, Has const& has) const {
    for (std::int64_t row = group * blockDim.y; row < (group + 1) * blockDim.y && row < work_.num_consume(); ++row) {
      std::int64_t count = 0;
      std::int32_t const* const slots = work_.slots(row, count);
      for (std::int64_t i = 0; i < count; ++i)
        if (slots[i] >= 0 && !has(slots[i])) return false;
    }
    return true;
  }
  __device__ bool has_arrived(std::int64_t group) const {
    FusedWindows const& windows = call_.windows;
    return every_slot(group, [&](std::int64_t slot) {
      return load_acquire(tag_of(windows, windows.own, generation_, slot)) == generation_;
    });
  }
  __device__ bool await(std::int64_t group) const {
    FusedWindows const& windows = call_.windows;
    return every_slot(group, [&](std::int64_t slot) {
      return await_word(call_, tag_of(windows, windows.own, generation_, slot), generation_,
                        static_cast<int>(slot / windows.capacity));
    });
  }

  FusedCall const& call_;
  Work const& work_;
  std::uint64_t generation_;
  std::int64_t ahead_ = -1;         ///< the item to produce next, drawn and not yet begun: 0 stands for the signals
  std::int64_t held_ = blockIdx.x;  ///< the group to consume next, not yet consumed
  bool has_produced_ = false;
  bool has_agreed_ = false;
};

/// Rows of a group, a row of threads each; `act(row)` runs with all threads of it.
template <typename Act>
__device__ void for_row_of(std::int64_t group, std::int64_t rows, Act const& act) {
  std::int64_t const row = group * blockDim.y + threadIdx.y;
  if (row < rows) act(row);
}

/// @return whether the block has compared the signals of all peers
template <typename Work>
__device__ bool run_items(FusedCall const& call, Work const& work, std::uint64_t generation) {
  using Kind = DuplexItem::Kind;
  __shared__ DuplexItem next;
  DuplexChoice<Work> choice(call, work, generation);
  bool has_agreed = false;
  while (true) {
    if (thread_of_block() == 0) next = choice.next();
    __syncthreads();
    DuplexItem const item = next;
    if (item.kind == Kind::end) return has_agreed;
    if (item.kind == Kind::signals) send_signals(call, generation, whole_block(), before_signals(call, whole_block()));
    if (item.kind == Kind::agree) {
      has_agreed = __syncthreads_or(await_signals(call, generation) ? 0 : 1) == 0;
      if (!has_agreed) return false;
    }
    if (item.kind == Kind::produce)
      for_row_of(item.index, work.num_produce(), [&](std::int64_t row) { work.produce(row, generation); });
    if (item.kind == Kind::consume)
      for_row_of(item.index, work.num_consume(), [&](std::int64_t row) { work.consume(row, generation); });
    __syncthreads();
    if (item.kind == Kind::produce && threadIdx.x == 0)
      for_row_of(item.index, work.num_produce(), [&](std::int64_t row) { work.release(row, generation); });
  }
}

template <typename Work>
__device__ void run_duplex(FusedCall const& call, Work const& work) {
  __shared__ FusedState state;
  if (thread_of_block() == 0) state = load_state(call.windows);
  __syncthreads();
  bool const has_agreed = state.error == 0 && run_items(call, work, state.generation);
  __shared__ bool is_last;
  close_operation(call, work, state.generation, has_agreed, is_last);
}

}  // namespace switchyard::cuda
