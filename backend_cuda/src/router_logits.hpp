// SPDX-License-Identifier: Apache-2.0
/// open_logits(): logits of a call, checked as far as the host can.
#pragma once

#include "router_kernels.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cuda {

/// @throws Error{shape_mismatch} unless `logits` are a contiguous [tokens, num_experts] of f32, bf16 or f16 on a device
[[nodiscard]] RouterLogits open_logits(ConstTensorView const& logits, int num_experts, hd::LogitRules const& rules,
                                       RouterFaultWord const& fault);

}  // namespace switchyard::cuda
