// SPDX-License-Identifier: Apache-2.0
#include "token_totals.hpp"

#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::routing {
namespace {

void add_row(float const* row, float factor, bool weighted, std::span<float> lane) {
  if (weighted) {
    for (std::size_t c = 0; c < lane.size(); ++c) lane[c] = hd::mul_then_add(factor, row[c], lane[c]);
  } else {
    for (std::size_t c = 0; c < lane.size(); ++c) lane[c] = hd::add_rn(lane[c], row[c]);
  }
}

}  // namespace

// The 32 lanes are 32 rows of accumulators, so that the inner loop runs along the experts.
std::vector<float> column_sums(std::span<float const> values, std::int64_t columns, TokenRange tokens, TokenMask mask,
                               std::span<float const> factors) {
  std::size_t const width = to_size(columns);
  std::vector<float> lanes(width * hd::kSumLanes, 0.0F);
  for (std::int64_t n = 0; n < tokens.count; ++n) {
    std::size_t const token = to_size(tokens.first + n * tokens.step);
    if (!mask.empty() && mask[token] == 0) continue;
    float const factor = factors.empty() ? 1.0F : factors[token];
    add_row(&values[token * width], factor, !factors.empty(),
            std::span(lanes).subspan(to_size(n % hd::kSumLanes) * width, width));
  }
  std::vector<float> sums(width);
  for (std::size_t c = 0; c < width; ++c) {
    float column[hd::kSumLanes];
    for (std::size_t lane = 0; lane < hd::kSumLanes; ++lane) column[lane] = lanes[lane * width + c];
    sums[c] = hd::lane32_join(column);
  }
  return sums;
}

std::vector<std::int64_t> count_choices(RoutingMap const& routing, TokenRange tokens) {
  std::vector<std::int64_t> counts(to_size(routing.num_experts()));
  std::vector<RoutingChoice> choices;
  for (std::int64_t n = 0; n < tokens.count; ++n) {
    routing.choices_of(TokenIndex(tokens.first + n * tokens.step), choices);
    for (RoutingChoice const& choice : choices) ++counts[to_size(choice.expert.value())];
  }
  return counts;
}

}  // namespace switchyard::routing
