// SPDX-License-Identifier: Apache-2.0
#include "router_rows.hpp"

#include <limits>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/router_setup.hpp"
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

/// The loop over a row vectorises.
bool holds_special(std::vector<float> const& row) {
  std::uint32_t found = 0;
  for (float const value : row) found |= static_cast<std::uint32_t>(hd::is_special_logit(value));
  return found != 0;
}

}  // namespace

LogitRows::LogitRows(ConstTensorView logits, hd::LogitRules rules)
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
  for (std::size_t e = 0; e < row_.size(); ++e) {
    hd::LogitFault const fault = hd::logit_fault(rules_, row_[e]);
    if (fault != hd::LogitFault::none) internal::throw_logit_fault(rules_, fault, token, static_cast<std::int64_t>(e));
    row_[e] = hd::usable_logit(row_[e]);
  }
}

}  // namespace switchyard::routing
