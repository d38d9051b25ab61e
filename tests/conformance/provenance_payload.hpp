// SPDX-License-Identifier: Apache-2.0
/// Payloads that say where they came from, and buffers that notice when something writes beside them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace switchyard::test {

/// A small hash of its own: the tests share no arithmetic with the library.
inline std::uint32_t scramble(std::uint32_t a, std::uint32_t b, std::uint32_t c, std::uint32_t d = 0) {
  std::uint32_t h = 2166136261u;
  for (std::uint32_t word : {a, b, c, d}) {
    h = (h ^ word) * 16777619u;
    h ^= h >> 15;
  }
  return (h * 2654435761u) >> 3;
}

/// What byte `offset` of message `index` from one rank to another in call `call` must be.
struct Provenance {
  int call;
  int from;
  int to;
  int index;

  [[nodiscard]] std::byte at(std::size_t offset) const {
    auto const head = scramble(static_cast<std::uint32_t>(call), static_cast<std::uint32_t>(from),
                               static_cast<std::uint32_t>(to), static_cast<std::uint32_t>(index));
    return static_cast<std::byte>(scramble(head, static_cast<std::uint32_t>(offset), 1u) & 0xffu);
  }
};

inline void fill(std::span<std::byte> bytes, Provenance const& provenance) {
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = provenance.at(i);
}

/// @throws std::logic_error naming the first wrong byte; a rank body that throws is reported with its text.
inline void expect_provenance(std::span<std::byte const> bytes, Provenance const& provenance) {
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (bytes[i] == provenance.at(i)) continue;
    throw std::logic_error("call " + std::to_string(provenance.call) + ": byte " + std::to_string(i) + " of message " +
                           std::to_string(provenance.index) + " from rank " + std::to_string(provenance.from) +
                           " to rank " + std::to_string(provenance.to) + " is " +
                           std::to_string(std::to_integer<int>(bytes[i])) + ", expected " +
                           std::to_string(std::to_integer<int>(provenance.at(i))));
  }
}

inline void expect(bool condition, std::string const& text) {
  if (!condition) throw std::logic_error(text);
}

inline constexpr std::byte kPoison{0xA5};

/// A poisoned buffer between two poisoned margins.
class GuardedBuffer {
 public:
  explicit GuardedBuffer(std::size_t bytes) : storage_(bytes + 2 * kMargin, kPoison) {}
  [[nodiscard]] std::span<std::byte> bytes() {
    return std::span(storage_).subspan(kMargin, storage_.size() - 2 * kMargin);
  }
  void expect_margins_untouched() const {
    for (std::size_t i = 0; i < kMargin; ++i)
      expect(storage_[i] == kPoison && storage_[storage_.size() - 1 - i] == kPoison, "a margin byte was overwritten");
  }
  void expect_untouched() const {
    for (std::byte b : storage_) expect(b == kPoison, "a buffer was written although its call failed");
  }
  void poison() { storage_.assign(storage_.size(), kPoison); }

 private:
  static constexpr std::size_t kMargin = 16;
  std::vector<std::byte> storage_;
};

}  // namespace switchyard::test
