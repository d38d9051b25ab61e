// SPDX-License-Identifier: Apache-2.0
/// Blocks of device threads on the host, so that kernels' device code runs and can be checked without a GPU. A thread
/// is a fiber; what threads of a warp or a block do together lets others run until all have come. Blocks of several
/// ranks run beside each other in an order drawn from a seed, no more of a rank than are said to be resident.
///
/// Include this before any kernel header, and compile without __CUDACC__: attributes of CUDA mean nothing then, and
/// system_words.cuh declares what is defined here. Memory is sequentially consistent, which a GPU's is not.
#pragma once

#include <cuda_runtime_api.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#undef __device__
#undef __host__
#undef __global__
#undef __forceinline__
#undef __noinline__
#define __device__
#define __host__
#define __global__
#define __forceinline__ inline
#define __noinline__

struct EmulatedIndex {
  unsigned x = 0;
  unsigned y = 0;
};
inline EmulatedIndex threadIdx;
inline EmulatedIndex blockIdx;
inline EmulatedIndex blockDim;
inline EmulatedIndex gridDim;

namespace support {

struct EmulatedGrid {
  unsigned blocks;
  unsigned threads;  ///< of a block; whole warps
};

class EmulatedGpus {
 public:
  explicit EmulatedGpus(std::uint32_t seed) : random_(seed) {}

  /// From now on this rank gets an eighth of the turns, so that others are an operation ahead of it.
  void slow_down(std::size_t rank) { slow_ = rank; }

  /// A kernel of every rank. `body` is called per thread with its rank.
  struct Launch {
    std::vector<EmulatedGrid> grids;
    std::function<void(std::size_t)> body;
  };

  /// Runs launches one after the other on every rank, as on a stream: a rank begins the next one when its own blocks
  /// have ended, wherever the others are. @return false: they never end
  bool run(std::vector<Launch> const& launches, std::size_t resident) {
    std::size_t const ranks = launches.front().grids.size();
    std::vector<std::vector<std::unique_ptr<Block>>> running(ranks);
    std::vector<unsigned> started(ranks, 0);
    std::vector<std::size_t> current(ranks, 0);
    constexpr int kMostRounds = 40000;
    for (int round = 0; round < kMostRounds; ++round) {
      bool has_ended = true;
      for (std::size_t rank = 0; rank < ranks; ++rank) {
        auto& blocks = running[rank];
        std::erase_if(blocks, [](auto const& block) { return block->left == 0; });
        bool const is_between = blocks.empty() && started[rank] == launches[current[rank]].grids[rank].blocks;
        if (is_between && current[rank] + 1 < launches.size()) {
          ++current[rank];
          started[rank] = 0;
        }
        Launch const& launch = launches[current[rank]];
        while (blocks.size() < resident && started[rank] < launch.grids[rank].blocks)
          blocks.push_back(start(rank, started[rank]++, launch));
        has_ended = has_ended && blocks.empty();
        if (rank == slow_ ? random_() % 8 != 0 : random_() % 4 == 0) continue;
        for (auto const& block : blocks)
          if (random_() % 4 != 0) step(*block);
      }
      if (has_ended) return true;
    }
    return false;
  }
  /// One launch.
  bool run(std::vector<EmulatedGrid> const& grids, std::size_t resident, std::function<void(std::size_t)> const& body) {
    return run(std::vector<Launch>{{grids, body}}, resident);
  }

  /// For the thread that runs: others run first. A kernel that a test runs without blocks, as a loop, has no others.
  static void yield() {
    if (now_ != nullptr) swapcontext(&now_->context, &scheduler_);
  }
  /// @return the values of the warp's lanes
  static std::uint64_t const* of_lanes(std::uint64_t value) {
    Warp& warp = now_->block->warps[now_->thread / kWarp];
    warp.coming[now_->thread % kWarp] = value;
    unsigned const turn = warp.turn;
    if (++warp.arrived == kWarp) {
      std::memcpy(warp.met, warp.coming, sizeof warp.met);
      warp.arrived = 0;
      ++warp.turn;
    }
    wait_for(warp.turn, turn);
    return warp.met;
  }
  static unsigned lane() { return now_->thread % kWarp; }
  static bool any_of_block(bool value) {
    Block& block = *now_->block;
    block.any = block.any || value;
    unsigned const turn = block.turn;
    if (++block.arrived == block.grid.threads) {
      block.met = block.any;
      block.any = false;
      block.arrived = 0;
      ++block.turn;
    }
    wait_for(block.turn, turn);
    return block.met;
  }

 private:
  static constexpr unsigned kWarp = 32;
  static constexpr std::size_t kStackBytes = 48 * 1024;

  struct Warp {
    unsigned arrived = 0;
    unsigned turn = 0;
    std::uint64_t coming[kWarp] = {};
    std::uint64_t met[kWarp] = {};
  };
  /// Until the word is no longer `turn`; the scheduler leaves the thread alone so long.
  static void wait_for(unsigned const& word, unsigned turn) {
    if (word != turn) return;
    now_->awaited = &word;
    now_->turn = turn;
    yield();
    now_->awaited = nullptr;
  }

  struct Block;
  struct Fiber {
    ucontext_t context{};
    std::unique_ptr<char[]> stack{};
    Block* block = nullptr;
    unsigned thread = 0;
    bool has_ended = false;
    unsigned const* awaited = nullptr;
    unsigned turn = 0;
  };
  struct Block {
    std::size_t rank = 0;
    unsigned index = 0;
    EmulatedGrid grid{};
    std::function<void(std::size_t)> const* body = nullptr;
    std::vector<Warp> warps{};
    std::vector<std::unique_ptr<Fiber>> fibers{};
    unsigned left = 0;
    unsigned arrived = 0;
    unsigned turn = 0;
    bool any = false;
    bool met = false;
  };

  static void enter() {
    (*now_->block->body)(now_->block->rank);
    now_->has_ended = true;
    --now_->block->left;
    while (true) yield();
  }
  static void prepare(Fiber& fiber) {
    fiber.stack.reset(new char[kStackBytes]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &EmulatedGpus::enter, 0);
  }
  static std::unique_ptr<Block> start(std::size_t rank, unsigned index, Launch const& launch) {
    EmulatedGrid const& grid = launch.grids[rank];
    auto block = std::make_unique<Block>();
    block->body = &launch.body;
    block->rank = rank;
    block->index = index;
    block->grid = grid;
    block->warps.resize(grid.threads / kWarp);
    block->left = grid.threads;
    for (unsigned thread = 0; thread < grid.threads; ++thread) {
      block->fibers.push_back(std::make_unique<Fiber>());
      block->fibers.back()->block = block.get();
      block->fibers.back()->thread = thread;
      prepare(*block->fibers.back());
    }
    return block;
  }
  static void step(Block& block) {
    for (auto const& fiber : block.fibers) {
      bool const waits = fiber->awaited != nullptr && *fiber->awaited == fiber->turn;
      if (fiber->has_ended || waits) continue;
      now_ = fiber.get();
      threadIdx = {fiber->thread, 0};
      blockIdx = {block.index, 0};
      blockDim = {block.grid.threads, 1};
      gridDim = {block.grid.blocks, 1};
      swapcontext(&scheduler_, &fiber->context);
    }
    now_ = nullptr;
  }

  inline static Fiber* now_ = nullptr;
  inline static ucontext_t scheduler_{};
  std::mt19937 random_;
  std::size_t slow_ = static_cast<std::size_t>(-1);
};

}  // namespace support

inline unsigned __ballot_sync(unsigned, bool value) {
  std::uint64_t const* const lanes = support::EmulatedGpus::of_lanes(value ? 1 : 0);
  unsigned mask = 0;
  for (unsigned lane = 0; lane < 32; ++lane) mask |= static_cast<unsigned>(lanes[lane]) << lane;
  return mask;
}
inline int __any_sync(unsigned mask, bool value) {
  return __ballot_sync(mask, value) != 0;
}
inline int __all_sync(unsigned mask, bool value) {
  return __ballot_sync(mask, value) == 0xffffffffU;
}
template <typename T>
T __shfl_sync(unsigned, T value, int from) {
  return static_cast<T>(support::EmulatedGpus::of_lanes(static_cast<std::uint64_t>(value))[from]);
}
template <typename T>
T __shfl_up_sync(unsigned, T value, unsigned distance) {
  std::uint64_t const* const lanes = support::EmulatedGpus::of_lanes(static_cast<std::uint64_t>(value));
  unsigned const lane = support::EmulatedGpus::lane();
  return static_cast<T>(lanes[lane >= distance ? lane - distance : lane]);
}
inline unsigned __match_any_sync(unsigned, int value) {
  std::uint64_t const* const lanes = support::EmulatedGpus::of_lanes(static_cast<std::uint64_t>(value));
  unsigned mask = 0;
  for (unsigned lane = 0; lane < 32; ++lane)
    if (lanes[lane] == static_cast<std::uint64_t>(value)) mask |= 1U << lane;
  return mask;
}
inline void __syncwarp() {
  support::EmulatedGpus::of_lanes(0);
}
inline void __syncthreads() {
  support::EmulatedGpus::any_of_block(false);
}
inline int __syncthreads_or(int value) {
  return support::EmulatedGpus::any_of_block(value != 0) ? 1 : 0;
}
inline void __threadfence() {}
using std::isnan;
inline int __popc(unsigned bits) {
  return __builtin_popcount(bits);
}
inline int __ffs(int bits) {
  return __builtin_ffs(bits);
}
template <typename T>
T __ldcs(T const* from) {
  support::EmulatedGpus::yield();  // rows are moved while other blocks go on
  return *from;
}
template <typename T>
T __ldcg(T const* from) {
  return *from;
}
template <typename T>
void __stcs(T* to, T value) {
  *to = value;
}
template <typename T>
T atomicMax(T* word, T value) {
  T const old = *word;
  if (value > old) *word = value;
  return old;
}
inline unsigned atomicExch(unsigned* word, unsigned value) {
  support::EmulatedGpus::yield();
  return std::exchange(*word, value);
}
inline unsigned atomicAdd(unsigned* word, unsigned value) {
  support::EmulatedGpus::yield();
  return std::exchange(*word, *word + value);
}
inline unsigned long long atomicCAS(unsigned long long* word, unsigned long long expected, unsigned long long value) {
  unsigned long long const old = *word;
  if (old == expected) *word = value;
  return old;
}

namespace switchyard::cuda {

inline std::uint64_t load_acquire(std::uint64_t const* from) {
  support::EmulatedGpus::yield();
  return *from;
}
inline std::uint64_t load_relaxed(std::uint64_t const* from) {
  return load_acquire(from);
}
inline void store_release(std::uint64_t* to, std::uint64_t value) {
  support::EmulatedGpus::yield();
  *to = value;
}
inline void store_relaxed(std::uint64_t* to, std::uint64_t value) {
  store_release(to, value);
}
inline void store_pair(void* to, std::uint64_t first, std::uint64_t second) {
  support::EmulatedGpus::yield();
  std::uint64_t const pair[2] = {first, second};
  std::memcpy(to, pair, sizeof pair);
}
inline void load_pair(void const* from, std::uint64_t& first, std::uint64_t& second) {
  support::EmulatedGpus::yield();
  std::memcpy(&first, from, sizeof first);
  std::memcpy(&second, static_cast<std::uint64_t const*>(from) + 1, sizeof second);
}
inline void fence_system() {}
/// Time stands still: no wait is ever late.
inline std::uint64_t now_ns() {
  return 0;
}
inline void await_loads(std::int32_t, float) {}
inline void load_two(void const* from, std::uint64_t& first, std::uint64_t& second) {
  std::memcpy(&first, from, sizeof first);
  std::memcpy(&second, static_cast<std::uint64_t const*>(from) + 1, sizeof second);
}

}  // namespace switchyard::cuda
