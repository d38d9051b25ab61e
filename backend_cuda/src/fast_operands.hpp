// SPDX-License-Identifier: Apache-2.0
/// What the fast expert engine offers, and what it asks of a call's operands before it issues work.
#pragma once

#include "lt_matmul.hpp"
#include "switchyard/experts/expert_gradient.hpp"

namespace switchyard::cuda {

/// @return how far the scales of the codes reach that the engine works with; none: plain rows and weights
/// @throws Error{unsupported} naming what it does not offer
[[nodiscard]] ScaleSpan require_fast_mlp(ExpertMlp const& mlp);

/// @return rows of the flattened operands. @throws as FastExperts::apply and backward
std::int64_t require_fast_call(ExpertMlp const& mlp, ScaleSpan scales, ExpertCall const& call);
std::int64_t require_fast_gradient(ExpertMlp const& mlp, ScaleSpan scales, ExpertGradientCall const& call);

}  // namespace switchyard::cuda
