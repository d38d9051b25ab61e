// SPDX-License-Identifier: Apache-2.0
/// MegaBlocks' expert layer as plain loops over all ranks at once: which choices bins keep, outputs, and gradients. The
/// expert itself is expert_oracle.hpp; hidden shards never appear, because they must not change a bit.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "oracle/expert_oracle.hpp"

namespace oracle {

/// What one rank starts from.
struct MegaBlocksRank {
  std::vector<Row> tokens;
  std::vector<std::vector<int>> ids;        ///< [tokens][k], -1 = dropped
  std::vector<std::vector<float>> weights;  ///< [tokens][k]
  std::vector<Row> d_output;
};

struct MegaBlocksLayer {
  ExpertOracle expert;
  int experts = 1;
  int top_k = 1;
  bool capacity_bins = false;
  double factor = 0;
  bool int8_results = false;  ///< the gradients of router weights read results that went through int8 codes
  std::vector<Row> w1, w2;    ///< [experts]
  Row bias;                   ///< empty: none
};

/// Choice k of token t of rank r, in the order in which an expert sees its rows.
struct MegaBlocksChoice {
  std::size_t rank, token, k;
};

/// Rows of every expert's bin. In a world of one the bracket of the capacity counts tokens; otherwise it counts the
/// rows that the expert's own rank sends, choices times hidden shards, and multiplies by k once more.
inline std::vector<std::vector<MegaBlocksChoice>> kept_choices(MegaBlocksLayer const& layer,
                                                               std::vector<MegaBlocksRank> const& ranks) {
  std::vector<std::vector<MegaBlocksChoice>> rows(static_cast<std::size_t>(layer.experts));
  for (std::size_t r = 0; r < ranks.size(); ++r)
    for (std::size_t t = 0; t < ranks[r].ids.size(); ++t)
      for (std::size_t k = 0; k < ranks[r].ids[t].size(); ++k)
        if (ranks[r].ids[t][k] >= 0) rows[static_cast<std::size_t>(ranks[r].ids[t][k])].push_back({r, t, k});
  if (!layer.capacity_bins) return rows;
  auto const world = ranks.size();
  std::size_t const blocks = std::min(world, rows.size());
  std::size_t const per_block = rows.size() / blocks;
  for (std::size_t block = 0; block < blocks; ++block) {
    std::size_t const counted =
        ranks[block].tokens.size() * (world == 1 ? 1 : static_cast<std::size_t>(layer.top_k) * (world / blocks));
    double const share = static_cast<double>(static_cast<std::size_t>(layer.top_k) * counted * world) /
                         static_cast<double>(layer.experts);
    auto const capacity = static_cast<std::size_t>(layer.factor * share);
    for (std::size_t e = block * per_block; capacity > 0 && e < (block + 1) * per_block; ++e)
      if (rows[e].size() > capacity) rows[e].resize(capacity);
  }
  return rows;
}

/// Lane j of 32 adds elements j, j + 32, ...; then the lanes in halves.
inline float dot_by_lanes(Row const& a, Row const& b) {
  std::array<float, 32> lanes{};
  for (std::size_t i = 0; i < a.size(); ++i) lanes[i % 32] = lanes[i % 32] + a[i] * b[i];
  for (std::size_t half = 16; half > 0; half /= 2)
    for (std::size_t j = 0; j < half; ++j) lanes[j] = lanes[j] + lanes[j + half];
  return lanes[0];
}

/// A row as int8 codes of one scale give it back: x * (127 / absmax), halves away from zero, times absmax / 127.
inline Row through_int8(Row row, Rounding const& round) {
  float largest = 1e-10f;
  for (float const value : row) largest = std::max(largest, std::fabs(value));
  float const factor = 127.0f / largest;
  float const scale = largest / 127.0f;
  for (float& value : row) value = round(std::round(value * factor) * scale);
  return row;
}

struct MegaBlocksResult {
  std::vector<std::vector<Row>> output;       ///< [rank][token]
  std::vector<std::vector<Row>> d_tokens;     ///< [rank][token]
  std::vector<std::vector<float>> d_weights;  ///< [rank][token * top_k + k]
  std::vector<Row> d_w1, d_w2;                ///< [expert]
  std::vector<Row> d_bias;                    ///< [rank]
};

/// Sums over a token's kept choices, k ascending from +0; terms(rank, token, k) is null for a dropped one.
template <typename Terms>
std::vector<std::vector<Row>> add_choices(MegaBlocksLayer const& layer, std::vector<MegaBlocksRank> const& ranks,
                                          Terms const& terms) {
  std::vector<std::vector<Row>> sums;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    sums.emplace_back();
    for (std::size_t t = 0; t < ranks[r].tokens.size(); ++t) {
      Row sum(layer.expert.hidden, 0.0f);
      for (std::size_t k = 0; k < static_cast<std::size_t>(layer.top_k); ++k)
        if (Row const* const term = terms(r, t, k))
          for (std::size_t h = 0; h < sum.size(); ++h) sum[h] = sum[h] + (*term)[h];
      for (float& value : sum) value = layer.expert.round_output(value);
      sums.back().push_back(std::move(sum));
    }
  }
  return sums;
}

/// [rank][token * top_k + k], empty rows for choices that no bin keeps.
using ChoiceRows = std::vector<std::vector<Row>>;

inline ChoiceRows no_rows(MegaBlocksLayer const& layer, std::vector<MegaBlocksRank> const& ranks) {
  ChoiceRows rows;
  for (MegaBlocksRank const& rank : ranks)
    rows.emplace_back(rank.tokens.size() * static_cast<std::size_t>(layer.top_k));
  return rows;
}

inline auto picker(MegaBlocksLayer const& layer, ChoiceRows const& rows) {
  return [&](std::size_t r, std::size_t t, std::size_t k) -> Row const* {
    Row const& row = rows[r][t * static_cast<std::size_t>(layer.top_k) + k];
    return row.empty() ? nullptr : &row;
  };
}

inline Row scaled_row(MegaBlocksLayer const& layer, Row row, float weight) {
  for (float& value : row) value = layer.expert.round_output(weight * value);
  return row;
}

/// Outputs of all ranks and the gradients that belong to them.
inline MegaBlocksResult run_megablocks(MegaBlocksLayer const& layer, std::vector<MegaBlocksRank> const& ranks) {
  auto const top_k = static_cast<std::size_t>(layer.top_k);
  auto const kept = kept_choices(layer, ranks);
  ChoiceRows weighted = no_rows(layer, ranks);
  ChoiceRows d_inputs = no_rows(layer, ranks);
  MegaBlocksResult result;
  for (auto const& rank : weighted) result.d_weights.emplace_back(rank.size(), 0.0f);
  for (std::size_t e = 0; e < kept.size(); ++e) {
    std::vector<Row> inputs;
    std::vector<Row> d_results;
    for (auto const& c : kept[e]) {
      MegaBlocksRank const& rank = ranks[c.rank];
      float const weight = rank.weights[c.token][c.k];
      Row const y = expert_forward(layer.expert, rank.tokens[c.token], layer.w1[e], {}, layer.w2[e], {});
      weighted[c.rank][c.token * top_k + c.k] = scaled_row(layer, y, weight);
      result.d_weights[c.rank][c.token * top_k + c.k] =
          dot_by_lanes(layer.int8_results ? through_int8(y, layer.expert.round_output) : y, rank.d_output[c.token]);
      inputs.push_back(rank.tokens[c.token]);
      d_results.push_back(scaled_row(layer, rank.d_output[c.token], weight));
    }
    auto gradients = expert_backward(layer.expert, inputs, d_results, layer.w1[e], {}, layer.w2[e]);
    for (std::size_t i = 0; i < kept[e].size(); ++i)
      d_inputs[kept[e][i].rank][kept[e][i].token * top_k + kept[e][i].k] = std::move(gradients.d_x[i]);
    result.d_w1.push_back(std::move(gradients.d_w1));
    result.d_w2.push_back(std::move(gradients.d_w2));
  }
  result.output = add_choices(layer, ranks, picker(layer, weighted));
  result.d_tokens = add_choices(layer, ranks, picker(layer, d_inputs));
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    result.d_bias.emplace_back(layer.bias.size(), 0.0f);
    for (std::size_t t = 0; t < ranks[r].tokens.size(); ++t)
      for (std::size_t h = 0; h < layer.bias.size(); ++h) {
        result.output[r][t][h] = layer.expert.round_output(result.output[r][t][h] + layer.bias[h]);
        result.d_bias[r][h] = result.d_bias[r][h] + ranks[r].d_output[t][h];
      }
  }
  return result;
}

}  // namespace oracle
