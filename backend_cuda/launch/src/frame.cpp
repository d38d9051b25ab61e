// SPDX-License-Identifier: Apache-2.0
#include "frame.hpp"

#include <algorithm>
#include <cstring>

#include "switchyard/internal/require.hpp"

namespace switchyard::launch {
namespace {

template <typename Value>
void put_lists(FrameWriter& writer, std::vector<std::vector<Value>> const& lists) {
  writer.put_u64(lists.size());
  for (auto const& list : lists) {
    writer.put_u64(list.size());
    for (Value const value : list) writer.put_u64(static_cast<std::uint64_t>(value));
  }
}

template <typename Value>
std::vector<std::vector<Value>> get_lists(FrameReader& reader) {
  std::vector<std::vector<Value>> lists(reader.get_count(sizeof(std::uint64_t)));
  for (auto& list : lists) {
    list.resize(reader.get_count(sizeof(std::uint64_t)));
    for (Value& value : list) value = static_cast<Value>(reader.get_u64());
  }
  return lists;
}

}  // namespace

void FrameWriter::put_u64(std::uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) put_u8(static_cast<std::uint8_t>(value >> shift));
}

void FrameWriter::put_text(std::string_view text) {
  put_blob(std::as_bytes(std::span(text)));
}

void FrameWriter::put_blob(std::span<std::byte const> blob) {
  put_u64(blob.size());
  bytes_.insert(bytes_.end(), blob.begin(), blob.end());
}

std::span<std::byte const> FrameReader::take(std::size_t count) {
  SWITCHYARD_REQUIRE(count <= bytes_.size(), parse,
                     "a control frame ends {} bytes early: the peer speaks another version, or is no rank of this job",
                     count - bytes_.size());
  auto const taken = bytes_.first(count);
  bytes_ = bytes_.subspan(count);
  return taken;
}

std::uint8_t FrameReader::get_u8() {
  return std::to_integer<std::uint8_t>(take(1).front());
}

std::uint64_t FrameReader::get_u64() {
  std::uint64_t value = 0;
  int shift = 0;
  for (std::byte const byte : take(sizeof value)) {
    value |= std::to_integer<std::uint64_t>(byte) << shift;
    shift += 8;
  }
  return value;
}

std::size_t FrameReader::get_count(std::size_t least_bytes) {
  std::uint64_t const count = get_u64();
  SWITCHYARD_REQUIRE(count <= bytes_.size() / least_bytes, parse,
                     "a control frame announces {} entries, but {} bytes are left", count, bytes_.size());
  return static_cast<std::size_t>(count);
}

std::vector<std::byte> FrameReader::get_blob() {
  auto const taken = take(get_count(1));
  return {taken.begin(), taken.end()};
}

std::string FrameReader::get_text() {
  auto const taken = take(get_count(1));
  std::string text(taken.size(), '\0');
  if (!taken.empty()) std::memcpy(text.data(), taken.data(), taken.size());
  return text;
}

std::vector<std::byte> frame_of(CallNote const& note) {
  FrameWriter writer(FrameType::note);
  writer.put_u8(static_cast<std::uint8_t>(note.kind));
  writer.put_u8(static_cast<std::uint8_t>(note.check));
  writer.put_u8(note.single_phase ? 1 : 0);
  writer.put_i64(note.sequence);
  writer.put_u64(note.configuration);
  writer.put_text(note.operation);
  put_lists(writer, note.send_bytes);
  put_lists(writer, note.receive_bytes);
  put_lists(writer, note.checksums);
  writer.put_text(note.refusal);
  return writer.bytes();
}

CallNote note_of(FrameReader& reader, int world_size) {
  CallNote note;
  std::uint8_t const kind = reader.get_u8();
  std::uint8_t const check = reader.get_u8();
  SWITCHYARD_REQUIRE(
      kind <= static_cast<std::uint8_t>(CallKind::exchange) && check <= static_cast<std::uint8_t>(CheckLevel::full),
      parse, "a control frame names call {} and check level {}", kind, check);
  note.kind = static_cast<CallKind>(kind);
  note.check = static_cast<CheckLevel>(check);
  note.single_phase = reader.get_u8() != 0;
  note.sequence = reader.get_i64();
  note.configuration = reader.get_u64();
  note.operation = reader.get_text();
  note.send_bytes = get_lists<std::int64_t>(reader);
  note.receive_bytes = get_lists<std::int64_t>(reader);
  note.checksums = get_lists<std::uint64_t>(reader);
  note.refusal = reader.get_text();
  auto const ranks = static_cast<std::size_t>(world_size);
  bool const fits =
      note.kind == CallKind::barrier || (note.send_bytes.size() == ranks && note.receive_bytes.size() == ranks);
  SWITCHYARD_REQUIRE(fits, parse, "a note names {} and {} peers in a group of {}", note.send_bytes.size(),
                     note.receive_bytes.size(), ranks);
  return note;
}

std::vector<std::byte> failure_frame(FrameType type, GroupFailure const& failure) {
  FrameWriter writer(type);
  writer.put_u8(static_cast<std::uint8_t>(failure.code));
  writer.put_text(failure.text);
  return writer.bytes();
}

GroupFailure failure_of(FrameReader& reader) {
  GroupFailure failure;
  failure.code =
      static_cast<ErrorCode>(std::min<std::uint8_t>(reader.get_u8(), static_cast<std::uint8_t>(ErrorCode::internal)));
  failure.text = reader.get_text();
  return failure;
}

}  // namespace switchyard::launch
