// SPDX-License-Identifier: Apache-2.0
#include "switchyard/routing/bias_update.hpp"

#include <cmath>

#include "switchyard/hd/router_loss.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

std::int64_t checked_sum(std::span<std::int64_t const> counts) {
  std::int64_t sum = 0;
  for (std::size_t e = 0; e < counts.size(); ++e) {
    SWITCHYARD_REQUIRE(counts[e] >= 0, invalid_argument, "token count of expert {} is {}: it must not be negative", e,
                       counts[e]);
    sum = checked_add(sum, counts[e]);
  }
  return sum;
}

}  // namespace

void update_selection_bias(std::span<float> bias, std::span<std::int64_t const> counts, float rate) {
  SWITCHYARD_REQUIRE(bias.size() == counts.size(), shape_mismatch, "{} selection biases for {} expert counts",
                     bias.size(), counts.size());
  SWITCHYARD_REQUIRE(std::isfinite(rate) && rate >= 0.0F, invalid_argument,
                     "bias update rate {} must be finite and not negative", rate);
  for (std::size_t e = 0; e < bias.size(); ++e)
    SWITCHYARD_REQUIRE(std::isfinite(bias[e]), invalid_argument, "selection bias of expert {} is {}: it must be finite",
                       e, bias[e]);
  std::int64_t const sum = checked_sum(counts);
  for (std::size_t e = 0; e < bias.size(); ++e) {
    int const sign = hd::sign_of_shortfall(sum, static_cast<std::int64_t>(counts.size()), counts[e]);
    bias[e] = hd::updated_bias(bias[e], sign, rate);
  }
}

}  // namespace switchyard
