// SPDX-License-Identifier: Apache-2.0
#include "router_logits.hpp"

#include "switchyard/internal/require.hpp"

namespace switchyard::cuda {
namespace {

bool is_row_dtype(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

}  // namespace

RouterLogits open_logits(ConstTensorView const& logits, int num_experts, hd::LogitRules const& rules,
                         RouterFaultWord const& fault) {
  SWITCHYARD_REQUIRE(logits.shape().rank() == 2 && is_row_dtype(logits.dtype()), shape_mismatch,
                     "logits of rank {} and dtype {}: the router reads a [tokens, experts] matrix of f32, bf16 or f16",
                     logits.shape().rank(), to_string(logits.dtype()));
  SWITCHYARD_REQUIRE(logits.space() == MemorySpace::device && logits.shape().contiguous(), shape_mismatch,
                     "logits [{}, {}] lie on the host or are strided: copy them to contiguous device memory",
                     logits.extent(0), logits.extent(1));
  SWITCHYARD_REQUIRE(logits.extent(1) == num_experts, shape_mismatch, "logits [{}, {}] for a router of {} experts",
                     logits.extent(0), logits.extent(1), num_experts);
  return {logits.data(), logits.dtype(), logits.extent(0), rules, fault.get()};
}

}  // namespace switchyard::cuda
