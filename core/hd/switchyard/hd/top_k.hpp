// SPDX-License-Identifier: Apache-2.0
/// The k largest values of a row with the project's tie rule: value descending, then index ascending.
#pragma once

#include <cstdint>

#include "switchyard/types/host_device.hpp"

namespace switchyard::hd {

/// A sorted list of at most `capacity` >= 1 entries in memory of the caller. Indices must be offered in ascending
/// order: an equal value that comes later then has the larger index and goes behind. Values are no NaNs.
struct TopK {
  float* values;      ///< [capacity]
  std::int32_t* ids;  ///< [capacity]
  int capacity;
  int count = 0;

  SWITCHYARD_HD void offer(float value, std::int32_t id) noexcept {
    if (count == capacity && !(value > values[count - 1])) return;
    int place = count < capacity ? count++ : capacity - 1;
    for (; place > 0 && value > values[place - 1]; --place) {
      values[place] = values[place - 1];
      ids[place] = ids[place - 1];
    }
    values[place] = value;
    ids[place] = id;
  }

  /// Offers row[first], ..., row[end - 1] under their own indices.
  SWITCHYARD_HD void offer_row(float const* row, std::int32_t first, std::int32_t end) noexcept {
    for (std::int32_t i = first; i < end; ++i) offer(row[i], i);
  }
};

}  // namespace switchyard::hd
