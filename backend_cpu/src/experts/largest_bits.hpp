// SPDX-License-Identifier: Apache-2.0
/// LargestBits: values as vectors, and the largest ones of groups, for plain_codes_body.hpp. A block of values is
/// 2 * kLanes of them: lane i holds values 2i and 2i + 1, as two bf16 lie in memory.
#pragma once

#if !defined(SWITCHYARD_TARGET)
#error "largest_bits.hpp is only for the plain_codes_<target>.cpp files"
#endif

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "code_lanes.hpp"
#include "plain_codes.hpp"
#include "switchyard/types/dtype.hpp"

namespace switchyard::cpu::SWITCHYARD_TARGET {
namespace {

constexpr std::uint32_t kSign = 0x80000000u;
constexpr std::uint32_t kMagnitude = 0x7fffffffu;
constexpr std::int64_t kBlock = 2 * kLanes;
constexpr std::int64_t kShortGroup = 16;  // groups that a block can hold two of

/// The float bits of the first and the second values of a block's pairs, and their signs in bits 15 and 31.
struct Pairs {
  LaneBits first;
  LaneBits second;
  LaneBits signs;
};
Pairs load_pairs(bf16_t const* values) {
  auto const both = load_lanes<LaneBits>(values);
  return {both << 16, both & 0xffff0000u, both};
}
Pairs load_pairs(float const* values) {
  auto const low = load_lanes<LaneBits>(values);
  auto const high = load_lanes<LaneBits>(values + kLanes);
  LaneBits const first = even_lanes(low, high);
  LaneBits const second = odd_lanes(low, high);
  return {first, second, ((first >> 16) & 0x8000u) | (second & kSign)};
}

/// The magnitudes of a vector of values, as integers in their order.
LaneInts magnitudes(float const* values) {
  return load_lanes<LaneInts>(values) & 0x7fffffff;
}
LaneShorts magnitudes(bf16_t const* values) {
  return load_lanes<LaneShorts>(values) & std::int16_t{0x7fff};
}
std::uint32_t float_bits(std::int32_t bits) {
  return static_cast<std::uint32_t>(bits);
}
std::uint32_t float_bits(std::int16_t bits) {
  return static_cast<std::uint32_t>(bits) << 16;
}

/// The largest bits of a run of values.
template <typename T>
std::uint32_t largest_of(T const* values, std::int64_t count) {
  using Lanes = decltype(magnitudes(values));
  using Element = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int16_t>;
  constexpr std::size_t kWidth = kLaneBytes / sizeof(T);
  constexpr auto kStep = static_cast<std::int64_t>(kWidth);
  Lanes largest{};
  std::int64_t i = 0;
  for (; i + kStep <= count; i += kStep) largest = larger(largest, magnitudes(values + i));
  if (i < count) {
    T rest[kWidth] = {};
    std::copy_n(values + i, count - i, rest);
    largest = larger(largest, magnitudes(rest));
  }
  Element lanes[kWidth];
  store_lanes(largest, lanes);
  return float_bits(*std::max_element(lanes, lanes + kWidth));
}

/// The larger magnitudes of a block's pairs.
template <typename T>
LaneInts larger_of_pairs(T const* values) {
  Pairs const pairs = load_pairs(values);
  return larger(reinterpret_cast<LaneInts>(pairs.first & kMagnitude),
                reinterpret_cast<LaneInts>(pairs.second & kMagnitude));
}

LaneInts larger_halves(LaneInts lanes) {
  return lanes;
}
/// Of two shorts in a lane, as float bits.
LaneInts larger_halves(LaneShorts lanes) {
  auto const both = reinterpret_cast<LaneBits>(lanes);
  return larger(reinterpret_cast<LaneInts>(both << 16), reinterpret_cast<LaneInts>(both & 0xffff0000u));
}

constexpr std::int64_t kHalvingLanes = 2048;  // what fits the scratch of largest_side_by_side

/// Neighbours are joined until one is left of each group, all groups side by side. @param lanes of a group: a power of
/// two
void halve_groups(std::int32_t* values, std::int64_t groups, std::int64_t lanes, std::uint32_t* largest) {
  for (std::int64_t left = groups * lanes; left > groups; left /= 2)
    for (std::int64_t to = 0; to < left / 2; to += kLanes) {
      auto const low = load_lanes<LaneBits>(values + 2 * to);
      auto const high = load_lanes<LaneBits>(values + 2 * to + kLanes);
      store_lanes(
          larger(reinterpret_cast<LaneInts>(even_lanes(low, high)), reinterpret_cast<LaneInts>(odd_lanes(low, high))),
          values + to);
    }
  for (std::int64_t g = 0; g < groups; ++g) largest[g] = static_cast<std::uint32_t>(values[g]);
}

/// Groups of whole blocks: one vector of each, then halved.
template <typename T>
void largest_of_blocks(T const* values, std::int64_t groups, std::int64_t size, std::uint32_t* largest) {
  constexpr auto kStep = static_cast<std::int64_t>(kLaneBytes / sizeof(T));
  std::int32_t lanes[kHalvingLanes + 2 * kLanes];
  constexpr std::int64_t kAtOnce = kHalvingLanes / kLanes;
  for (std::int64_t first = 0; first < groups; first += kAtOnce) {
    std::int64_t const count = std::min(kAtOnce, groups - first);
    for (std::int64_t g = 0; g < count; ++g, values += size) {
      auto vector = magnitudes(values);
      for (std::int64_t i = kStep; i < size; i += kStep) vector = larger(vector, magnitudes(values + i));
      store_lanes(larger_halves(vector), lanes + g * kLanes);
    }
    store_lanes(LaneInts{}, lanes + count * kLanes);
    halve_groups(lanes, count, kLanes, largest + first);
  }
}

/// Groups shorter than a block, which is whole groups.
template <typename T>
void largest_of_short_groups(T const* values, std::int64_t groups, std::int64_t size, std::uint32_t* largest) {
  std::int32_t lanes[kHalvingLanes + 2 * kLanes];
  std::int64_t const at_once = 2 * kHalvingLanes / size;
  for (std::int64_t first = 0; first < groups; first += at_once) {
    std::int64_t const count = std::min(at_once, groups - first) * size;
    T const* const from = values + first * size;
    std::int64_t i = 0;
    for (; i + kBlock <= count; i += kBlock) store_lanes(larger_of_pairs(from + i), lanes + i / 2);
    T rest[kBlock] = {};
    std::copy_n(from + i, count - i, rest);
    store_lanes(larger_of_pairs(rest), lanes + i / 2);
    halve_groups(lanes, count / size, size / 2, largest + first);
  }
}

template <typename T>
void largest_typed(LargestBits const& task) {
  auto const* const values = static_cast<T const*>(task.values);
  std::int64_t const size = task.size;
  if (size > 0 && size % kBlock == 0) return largest_of_blocks(values, task.groups, size, task.largest);
  if (size == kShortGroup) return largest_of_short_groups(values, task.groups, size, task.largest);
  for (std::int64_t g = 0; g < task.groups; ++g) task.largest[g] = largest_of(values + g * size, size);
}

}  // namespace
}  // namespace switchyard::cpu::SWITCHYARD_TARGET
