// SPDX-License-Identifier: Apache-2.0
/// Fiber: a function with its own stack that its owner resumes and that suspends itself (docs/adr/0002).
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <functional>

namespace switchyard::cpu {

/// An mmap'd stack with an inaccessible page below it.
class FiberStack {
 public:
  /// @throws Error{out_of_memory} when the address space or the number of mappings is exhausted.
  FiberStack();
  ~FiberStack();
  FiberStack(FiberStack const&) = delete;
  FiberStack& operator=(FiberStack const&) = delete;

  [[nodiscard]] std::byte* bottom() const noexcept;
  [[nodiscard]] std::size_t size() const noexcept;

 private:
  std::byte* mapping_;
};

/// Not movable: its context holds pointers into itself. resume() and suspend() alternate on one thread.
class Fiber {
 public:
  /// @param body must not let exceptions escape.
  explicit Fiber(std::function<void()> body);
  ~Fiber();
  Fiber(Fiber const&) = delete;
  Fiber& operator=(Fiber const&) = delete;

  /// Called by the owner: runs the fiber until it suspends or ends.
  void resume();
  /// Called inside the fiber: goes back to the owner until the next resume().
  void suspend();
  [[nodiscard]] bool ended() const noexcept { return ended_; }

 private:
  /// The C++ runtime's record of exceptions in flight is per thread; every stack needs its own.
  struct ExceptionState {
    alignas(void*) std::byte bytes[2 * sizeof(void*)] = {};
  };
  static void entry(unsigned low, unsigned high);
  static void swap_exception_state(ExceptionState& mine) noexcept;
  void body_main();
  void switch_out(bool last);

  FiberStack stack_;
  std::function<void()> body_;
  ucontext_t inside_{};
  ucontext_t outside_{};
  ExceptionState exceptions_{};
  bool ended_ = false;
  // Sanitizer bookkeeping; unused without them.
  void* fake_stack_inside_ = nullptr;
  void const* owner_stack_ = nullptr;
  std::size_t owner_stack_size_ = 0;
  void* tsan_inside_ = nullptr;
  void* tsan_outside_ = nullptr;
};

}  // namespace switchyard::cpu
