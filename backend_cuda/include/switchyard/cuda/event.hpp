// SPDX-License-Identifier: Apache-2.0
/// Event and EventView: a point in a stream's work that a host or another stream can wait for. No CUDA header needed.
#pragma once

#include "switchyard/cuda/stream.hpp"

struct CUevent_st;

namespace switchyard::cuda {

/// A borrowed event.
class EventView {
 public:
  explicit EventView(CUevent_st* handle) noexcept : handle_(handle) {}
  [[nodiscard]] CUevent_st* handle() const noexcept { return handle_; }
  /// Marks the work issued to `stream` so far. @throws Error{cuda}
  void record(StreamView stream) const;
  /// Blocks the host until the marked work is done. @throws Error{cuda}
  void synchronize() const;

 private:
  CUevent_st* handle_;
};

enum class EventTiming { off, on };

/// Owns an event. Move-only.
class Event {
 public:
  /// @throws Error{cuda}
  explicit Event(EventTiming timing = EventTiming::off);
  ~Event();
  Event(Event&& other) noexcept;
  Event& operator=(Event&& other) noexcept;
  Event(Event const&) = delete;
  Event& operator=(Event const&) = delete;

  [[nodiscard]] EventView view() const noexcept { return EventView(handle_); }
  operator EventView() const noexcept { return view(); }  // NOLINT(google-explicit-constructor): borrowing is safe

 private:
  CUevent_st* handle_ = nullptr;
};

/// @return microseconds of device time between two recorded events with timing, both done. @throws Error{cuda}
[[nodiscard]] double elapsed_us(EventView begin, EventView end);

}  // namespace switchyard::cuda
