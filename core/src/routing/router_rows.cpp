// SPDX-License-Identifier: Apache-2.0
#include "router_rows.hpp"

#include <cmath>
#include <limits>

#include "switchyard/hd/router_step.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::routing {
namespace {

bool readable(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

ConstTensorView require_logits(ConstTensorView logits) {
  SWITCHYARD_REQUIRE(logits.shape().rank() == 2 && readable(logits.dtype()), shape_mismatch,
                     "logits of rank {} and dtype {}: the router reads a [tokens, experts] matrix of f32, bf16 or f16",
                     logits.shape().rank(), to_string(logits.dtype()));
  SWITCHYARD_REQUIRE(logits.space() != MemorySpace::device && logits.shape().contiguous(), shape_mismatch,
                     "logits [{}, {}] lie in device memory or are strided: copy them to a contiguous host matrix",
                     logits.extent(0), logits.extent(1));
  SWITCHYARD_REQUIRE(logits.extent(1) >= 1 && logits.extent(1) <= std::numeric_limits<int>::max(), shape_mismatch,
                     "logits [{}, {}]: the number of experts must be positive and fit in 31 bits", logits.extent(0),
                     logits.extent(1));
  return logits;
}

template <typename T>
void widen_row(void const* data, std::int64_t first, std::vector<float>& out) {
  T const* const source = static_cast<T const*>(data) + first;
  for (std::size_t e = 0; e < out.size(); ++e) out[e] = hd::widen(source[e]);
}

/// A NaN or +inf, seen from the bits so that the loop over a row vectorises.
bool holds_special(std::vector<float> const& row) {
  std::uint32_t found = 0;
  for (float const value : row) {
    auto const bits = hd::bits_to<std::uint32_t>(value);
    found |= static_cast<std::uint32_t>((bits & 0x7fffffffU) >= 0x7f800000U);
  }
  return found != 0;
}

}  // namespace

LogitRows::LogitRows(ConstTensorView logits, LogitRules rules)
    : logits_(require_logits(logits)),
      rules_(rules),
      num_tokens_(logits.extent(0)),
      num_experts_(static_cast<int>(logits.extent(1))),
      row_(to_size(num_experts_)) {}

float const* LogitRows::row(std::int64_t token) {
  load(token);
  if (holds_special(row_)) repair(token);
  return row_.data();
}

void LogitRows::load(std::int64_t token) {
  std::int64_t const first = token * num_experts_;
  if (logits_.dtype() == DType::bf16) {
    widen_row<bf16_t>(logits_.data(), first, row_);
  } else if (logits_.dtype() == DType::f16) {
    widen_row<f16_t>(logits_.data(), first, row_);
  } else {
    widen_row<float>(logits_.data(), first, row_);
  }
  if (rules_.round_to != DType::f32)
    for (float& value : row_) value = hd::round_through(rules_.round_to, value);
}

void LogitRows::repair(std::int64_t token) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (std::size_t e = 0; e < row_.size(); ++e) {
    SWITCHYARD_REQUIRE(
        rules_.allow_infinity || row_[e] != kInfinity, invalid_argument,
        "logit of token {}, expert {} is +inf{}: it has no finite score; clamp the logits or look for an "
        "overflow in the router's matrix product",
        token, e, rules_.round_to == DType::f32 ? "" : " after rounding");
    if (!std::isnan(row_[e])) continue;
    SWITCHYARD_REQUIRE(rules_.nan_policy == NanPolicy::lowest, invalid_argument,
                       "logit of token {}, expert {} is NaN: look for it in the router's input or weights, or route "
                       "with NanPolicy::lowest to treat it as -inf",
                       token, e);
    row_[e] = -kInfinity;
  }
}

}  // namespace switchyard::routing
