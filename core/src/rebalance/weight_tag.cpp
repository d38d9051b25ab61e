// SPDX-License-Identifier: Apache-2.0
#include "switchyard/rebalance/weight_tag.hpp"

#include "switchyard/types/counter_rng.hpp"

namespace switchyard {
namespace {

constexpr std::int64_t kWordBytes = 8;

/// The random words of one row: word i covers bytes 8i .. 8i+7, lowest first.
CounterRng words_of(int layer, ExpertId expert, int tensor) noexcept {
  auto const high = static_cast<std::uint64_t>(static_cast<std::uint32_t>(layer)) << 32;
  return CounterRng(high | static_cast<std::uint32_t>(tensor), static_cast<std::uint32_t>(expert.value()));
}

std::byte byte_of(std::uint64_t word, std::int64_t offset) noexcept {
  return static_cast<std::byte>((word >> (8 * (offset % kWordBytes))) & 0xff);
}

}  // namespace

std::byte weight_tag(int layer, ExpertId expert, int tensor, std::int64_t offset) noexcept {
  return byte_of(words_of(layer, expert, tensor).bits(static_cast<std::uint64_t>(offset / kWordBytes)), offset);
}

void fill_weight_tags(std::span<std::byte> row, int layer, ExpertId expert, int tensor) noexcept {
  CounterRng const words = words_of(layer, expert, tensor);
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (i % kWordBytes == 0) word = words.bits(i / kWordBytes);
    row[i] = byte_of(word, static_cast<std::int64_t>(i));
  }
}

std::optional<std::int64_t> first_wrong_tag(std::span<std::byte const> row, int layer, ExpertId expert,
                                            int tensor) noexcept {
  CounterRng const words = words_of(layer, expert, tensor);
  std::uint64_t word = 0;
  for (std::size_t i = 0; i < row.size(); ++i) {
    if (i % kWordBytes == 0) word = words.bits(i / kWordBytes);
    if (row[i] != byte_of(word, static_cast<std::int64_t>(i))) return static_cast<std::int64_t>(i);
  }
  return std::nullopt;
}

}  // namespace switchyard
