// SPDX-License-Identifier: Apache-2.0
/// The combine of recipe source_slot_order in plain loops, on numbers that are already float: fp32 accumulator from +0,
/// slots ascending, product rounded to fp32, then added, each rounded by going through volatile storage.
#pragma once

#include <cstdint>
#include <vector>

namespace oracle {

inline float combine_unrounded(std::vector<float> const& terms, std::vector<float> const& weights) {
  float volatile acc = 0.0f;
  for (std::size_t i = 0; i < terms.size(); ++i) {
    float const volatile product = weights[i] * terms[i];
    acc = acc + product;
  }
  return acc;
}

}  // namespace oracle
