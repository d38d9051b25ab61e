// SPDX-License-Identifier: Apache-2.0
/// chain_matmul: a small dense product in fused chains, for matrices that no expert owns (a router's).
#pragma once

#include <cstdint>

#include "switchyard/types/dtype.hpp"

namespace switchyard::cpu {

/// One operand: lane i, step k is data[i * lane_stride + k * step_stride], in elements.
struct ChainOperand {
  void const* data;
  DType dtype;
  std::int64_t lane_stride;
  std::int64_t step_stride;
};

/// out[l][r] = chain over steps ascending of fma(left(l, k), right(r, k)), from +0. Same bits for any workers.
/// @param out [left_lanes, right_lanes]
void chain_matmul(ChainOperand const& left, std::int64_t left_lanes, ChainOperand const& right,
                  std::int64_t right_lanes, std::int64_t steps, float* out);

}  // namespace switchyard::cpu
