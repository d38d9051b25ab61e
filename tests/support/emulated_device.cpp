// SPDX-License-Identifier: Apache-2.0
// The blocks of emulated_device.hpp. One host thread launches.
#include "support/emulated_device.hpp"

#include <ucontext.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "support/emulated_runtime.hpp"
#include "switchyard/types/error.hpp"

EmulatedIndex threadIdx;
EmulatedIndex blockIdx;
EmulatedIndex blockDim;
EmulatedIndex gridDim;

namespace support {
namespace {

constexpr unsigned kWarp = 32;
constexpr std::size_t kStackBytes = 64 * 1024;

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<char[]> stack{};
  unsigned thread = 0;
  bool has_ended = false;
  unsigned const* awaited = nullptr;  ///< this fiber is left alone while the word is `turn`
  unsigned turn = 0;
};

struct Warp {
  unsigned running = 0;
  unsigned arrived = 0;
  unsigned turn = 0;
  std::uint64_t coming[kWarp] = {};
  std::uint64_t met[kWarp] = {};
};

/// The block that runs.
struct Block {
  std::vector<Fiber> fibers{};  ///< of the largest block so far
  std::vector<Warp> warps{};
  std::vector<std::uint64_t> shared{};
  unsigned running = 0;
  unsigned arrived = 0;
  unsigned turn = 0;
  bool any = false;
  bool met = false;
  Fiber* now = nullptr;
  ucontext_t scheduler{};
  std::function<void()> const* body = nullptr;
};
Block block;

void yield() {
  swapcontext(&block.now->context, &block.scheduler);
}

void wait_for(unsigned const& word, unsigned turn) {
  if (word != turn) return;
  block.now->awaited = &word;
  block.now->turn = turn;
  yield();
  block.now->awaited = nullptr;
}

void open_barrier() {
  block.met = block.any;
  block.any = false;
  block.arrived = 0;
  ++block.turn;
}

void enter() {
  (*block.body)();
  block.now->has_ended = true;
  --block.warps[block.now->thread / kWarp].running;
  if (--block.running > 0 && block.arrived == block.running) open_barrier();
  while (true) yield();
}

void prepare(Fiber& fiber, unsigned thread) {
  if (!fiber.stack) fiber.stack.reset(new char[kStackBytes]);
  fiber.thread = thread;
  fiber.has_ended = false;
  fiber.awaited = nullptr;
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = kStackBytes;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, &enter, 0);
}

/// Gives every thread that can go on a turn. @return whether there was one
bool step(unsigned threads, unsigned width) {
  bool has_moved = false;
  for (unsigned thread = 0; thread < threads; ++thread) {
    Fiber& fiber = block.fibers[thread];
    bool const waits = fiber.awaited != nullptr && *fiber.awaited == fiber.turn;
    if (fiber.has_ended || waits) continue;
    has_moved = true;
    block.now = &fiber;
    threadIdx = {thread % width, thread / width};
    swapcontext(&block.scheduler, &fiber.context);
  }
  return has_moved;
}

void run_block(EmulatedLaunch const& launch) {
  unsigned const threads = launch.block.x * launch.block.y;
  if (block.fibers.size() < threads) block.fibers.resize(threads);
  block.warps.assign((threads + kWarp - 1) / kWarp, {});
  for (unsigned thread = 0; thread < threads; ++thread) {
    prepare(block.fibers[thread], thread);
    ++block.warps[thread / kWarp].running;
  }
  block.running = threads;
  block.arrived = 0;
  block.any = false;
  while (block.running > 0)
    if (!step(threads, launch.block.x))
      throw switchyard::Error(switchyard::ErrorCode::internal, "emulated threads wait for others that have ended");
}

}  // namespace

void emulate(EmulatedLaunch const& launch, std::function<void()> const& body) {
  if (is_captured([launch, body] { emulate(launch, body); })) return;
  constexpr std::uint64_t kPoison = 0xa5a5a5a5a5a5a5a5ULL;
  block.body = &body;
  gridDim = {launch.grid.x, launch.grid.y};
  blockDim = {launch.block.x, launch.block.y};
  for (blockIdx.y = 0; blockIdx.y < launch.grid.y; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < launch.grid.x; ++blockIdx.x) {
      block.shared.assign(launch.shared_bytes / sizeof kPoison + 2, kPoison);
      run_block(launch);
    }
}

void* emulated_shared() {
  return block.shared.data();
}

std::uint64_t const* emulated_lanes(std::uint64_t value) {
  Warp& warp = block.warps[block.now->thread / kWarp];
  warp.coming[emulated_lane()] = value;
  unsigned const turn = warp.turn;
  if (++warp.arrived == warp.running) {
    std::copy(std::begin(warp.coming), std::end(warp.coming), std::begin(warp.met));
    std::fill(std::begin(warp.coming), std::end(warp.coming), 0);
    warp.arrived = 0;
    ++warp.turn;
  }
  wait_for(warp.turn, turn);
  return warp.met;
}

unsigned emulated_lane() {
  return block.now->thread % kWarp;
}

bool emulated_barrier(bool value) {
  block.any = block.any || value;
  unsigned const turn = block.turn;
  if (++block.arrived == block.running) open_barrier();
  wait_for(block.turn, turn);
  return block.met;
}

}  // namespace support
