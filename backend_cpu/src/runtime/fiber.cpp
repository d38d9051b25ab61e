// SPDX-License-Identifier: Apache-2.0
#include "fiber.hpp"

#include <cxxabi.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <utility>

#include "fiber_sanitizers.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {
namespace {

constexpr std::size_t kStackBytes = std::size_t{1} << 20;

std::size_t guard_bytes() noexcept {
  return static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

[[noreturn]] void refuse_stack(char const* call) {
  throw_error(ErrorCode::out_of_memory,
              fmt::format("{} refused a rank's stack of {} bytes: {}; use fewer ranks or raise vm.max_map_count", call,
                          kStackBytes + guard_bytes(), std::strerror(errno)));
}

}  // namespace

FiberStack::FiberStack() {
  void* const mapping = ::mmap(nullptr, kStackBytes + guard_bytes(), PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
  if (mapping == MAP_FAILED) refuse_stack("mmap");
  mapping_ = static_cast<std::byte*>(mapping);
  if (::mprotect(mapping_, guard_bytes(), PROT_NONE) != 0) {
    ::munmap(mapping_, kStackBytes + guard_bytes());
    refuse_stack("mprotect");
  }
  sanitizer::forget_stack(bottom(), size());
}

FiberStack::~FiberStack() {
  sanitizer::forget_stack(bottom(), size());
  ::munmap(mapping_, kStackBytes + guard_bytes());
}

std::byte* FiberStack::bottom() const noexcept {
  return mapping_ + guard_bytes();
}
std::size_t FiberStack::size() const noexcept {
  return kStackBytes;
}

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)), tsan_inside_(sanitizer::create_thread_state()) {
  ::getcontext(&inside_);
  inside_.uc_stack.ss_sp = stack_.bottom();
  inside_.uc_stack.ss_size = stack_.size();
  inside_.uc_link = nullptr;  // body_main() never returns into it
  auto const self = static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(this));
  // makecontext passes ints only, so the pointer travels in two halves.
  ::makecontext(&inside_, reinterpret_cast<void (*)()>(&Fiber::entry), 2, static_cast<unsigned>(self),
                static_cast<unsigned>(self >> 32));
}

Fiber::~Fiber() {
  sanitizer::destroy_thread_state(tsan_inside_);
}

void Fiber::entry(unsigned low, unsigned high) {
  auto const self = static_cast<std::uint64_t>(low) | static_cast<std::uint64_t>(high) << 32;
  reinterpret_cast<Fiber*>(static_cast<std::uintptr_t>(self))->body_main();
}

void Fiber::body_main() {
  sanitizer::finish_switch(nullptr, &owner_stack_, &owner_stack_size_);
  body_();
  ended_ = true;
  switch_out(true);
}

void Fiber::swap_exception_state(ExceptionState& mine) noexcept {
  ExceptionState current;
  void* const globals = abi::__cxa_get_globals();
  std::memcpy(current.bytes, globals, sizeof current.bytes);
  std::memcpy(globals, mine.bytes, sizeof mine.bytes);
  mine = current;
}

void Fiber::resume() {
  void* fake_stack = nullptr;
  tsan_outside_ = sanitizer::current_thread_state();
  swap_exception_state(exceptions_);
  sanitizer::start_switch(&fake_stack, stack_.bottom(), stack_.size());
  sanitizer::switch_thread_state(tsan_inside_);
  ::swapcontext(&outside_, &inside_);
  sanitizer::finish_switch(fake_stack, nullptr, nullptr);
  swap_exception_state(exceptions_);
}

void Fiber::suspend() {
  switch_out(false);
}

void Fiber::switch_out(bool last) {
  sanitizer::start_switch(last ? nullptr : &fake_stack_inside_, owner_stack_, owner_stack_size_);
  sanitizer::switch_thread_state(tsan_outside_);
  ::swapcontext(&inside_, &outside_);
  sanitizer::finish_switch(fake_stack_inside_, &owner_stack_, &owner_stack_size_);
}

}  // namespace switchyard::cpu
