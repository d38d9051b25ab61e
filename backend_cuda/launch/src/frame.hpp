// SPDX-License-Identifier: Apache-2.0
/// Frames of the control channel: a type and little-endian fields, with a length that is bounded before it is believed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "switchyard/launch/call_note.hpp"

namespace switchyard::launch {

enum class FrameType : std::uint8_t {
  hello,     ///< client: token, rank, world size
  welcome,   ///< server: the blob that rank 0 shares
  note,      ///< client: a CallNote
  done,      ///< client: its data of this round has arrived
  expired,   ///< client: what it waited for and for how long
  fail,      ///< client: code and text for everybody
  ended,     ///< client: no more calls
  go,        ///< server: all ranks agree; move data. Carries the checksums of what this rank receives
  complete,  ///< server: the round has ended well on every rank
  failed,    ///< server: code and text
  refused,   ///< server: code and text; this call was called off on every rank, and the group goes on
};

/// A frame may not be longer than this; a note of 4,096 ranks with 64 messages each fits.
inline constexpr std::uint32_t kMaxFrameBytes = 256U << 20;

class FrameWriter {
 public:
  explicit FrameWriter(FrameType type) { put_u8(static_cast<std::uint8_t>(type)); }
  void put_u8(std::uint8_t value) { bytes_.push_back(static_cast<std::byte>(value)); }
  void put_u64(std::uint64_t value);
  void put_i64(std::int64_t value) { put_u64(static_cast<std::uint64_t>(value)); }
  void put_text(std::string_view text);
  void put_blob(std::span<std::byte const> blob);
  [[nodiscard]] std::vector<std::byte> const& bytes() const noexcept { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

/// @throws Error{parse} when a frame is shorter than what is read from it.
class FrameReader {
 public:
  explicit FrameReader(std::span<std::byte const> bytes) : bytes_(bytes) { type_ = static_cast<FrameType>(get_u8()); }
  [[nodiscard]] FrameType type() const noexcept { return type_; }
  [[nodiscard]] std::uint8_t get_u8();
  [[nodiscard]] std::uint64_t get_u64();
  [[nodiscard]] std::int64_t get_i64() { return static_cast<std::int64_t>(get_u64()); }
  [[nodiscard]] std::string get_text();
  [[nodiscard]] std::vector<std::byte> get_blob();
  /// A count of things that take at least `least_bytes` each: refused when they cannot be there.
  [[nodiscard]] std::size_t get_count(std::size_t least_bytes);

 private:
  std::span<std::byte const> take(std::size_t count);
  std::span<std::byte const> bytes_;
  FrameType type_{};
};

[[nodiscard]] std::vector<std::byte> frame_of(CallNote const& note);
/// @throws Error{parse} for a note that is cut short or does not name `world_size` peers.
[[nodiscard]] CallNote note_of(FrameReader& reader, int world_size);
[[nodiscard]] std::vector<std::byte> failure_frame(FrameType type, GroupFailure const& failure);
[[nodiscard]] GroupFailure failure_of(FrameReader& reader);

}  // namespace switchyard::launch
