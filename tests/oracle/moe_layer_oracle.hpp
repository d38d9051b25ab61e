// SPDX-License-Identifier: Apache-2.0
/// A whole MoE layer as plain loops over all tokens of all ranks, forward and backward: no ranks, no rows in flight, no
/// plan. The expert itself is expert_oracle.hpp, the recipes are recipe_oracle.hpp; the order of every sum over
/// tokens, slots and columns is spelled here. A gradient's roundings count as the identity; products are rounded to
/// fp32 before they are added.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "oracle/expert_oracle.hpp"
#include "oracle/recipe_oracle.hpp"

namespace oracle {

/// A recipe: the code that one output element gets from its terms.
using TermSum = std::function<std::uint64_t(RecipeTerms const&, FloatFormat const&)>;

struct MoeLayer {
  ExpertOracle expert;
  FloatFormat row = kFormatBf16;  ///< of tokens, expert outputs and their gradients
  TermSum sum = source_slot_order;
  TermSum gradient_sum = source_slot_order;
  bool weights_on_input = false;    ///< one choice per token then
  std::vector<Row> w1, b1, w2, b2;  ///< [experts], flattened; biases may be empty rows
};

/// All tokens, source ranks ascending.
struct MoeBatch {
  std::vector<Row> tokens;
  std::vector<std::vector<int>> ids;  ///< [tokens][k], -1 = not taken
  std::vector<std::vector<float>> weights;
  std::vector<Row> d_output;
};

struct MoeAnswer {
  std::vector<Row> output, d_tokens;
  std::vector<std::vector<float>> d_weights;
  std::vector<ExpertGradients> experts;  ///< d_x of every row of the expert, tokens ascending, slots ascending
};

inline float lane32(std::vector<float> const& terms) {
  float volatile lanes[32] = {};
  for (std::size_t i = 0; i < terms.size(); ++i) lanes[i % 32] = lanes[i % 32] + terms[i];
  for (std::size_t distance : {16u, 8u, 4u, 2u, 1u})
    for (std::size_t lane = 0; lane < distance; ++lane) lanes[lane] = lanes[lane] + lanes[lane + distance];
  return lanes[0];
}

inline Row scaled(MoeLayer const& layer, Row const& row, float weight) {
  Row out;
  for (float const value : row) {
    float const volatile product = weight * value;
    out.push_back(rounded_to(layer.row, product));
  }
  return out;
}

inline float dot(Row const& a, Row const& b) {
  std::vector<float> products;
  for (std::size_t c = 0; c < a.size(); ++c) {
    float const volatile product = a[c] * b[c];
    products.push_back(float{product});
  }
  return lane32(products);
}

/// One taken choice of a token: the expert's row, and what becomes of it.
struct MoeChoice {
  std::size_t token, slot, expert;
  Row x, y, dy;
};

/// The sum of a token's rows, every element by `sum`.
inline Row token_sum(MoeLayer const& layer, TermSum const& sum, std::vector<Row> const& rows,
                     std::vector<RecipeTerm> const& labels) {
  Row out(layer.expert.hidden);
  for (std::size_t c = 0; c < out.size(); ++c) {
    RecipeTerms terms = labels;
    for (std::size_t i = 0; i < rows.size(); ++i) terms[i].row = rows[i][c];
    out[c] = static_cast<float>(double_of(layer.row, sum(terms, layer.row)));
  }
  return out;
}

inline std::vector<MoeChoice> choices_of(MoeLayer const& layer, MoeBatch const& batch) {
  std::vector<MoeChoice> choices;
  for (std::size_t t = 0; t < batch.tokens.size(); ++t)
    for (std::size_t k = 0; k < batch.ids[t].size(); ++k) {
      if (batch.ids[t][k] < 0) continue;
      auto const e = static_cast<std::size_t>(batch.ids[t][k]);
      float const weight = batch.weights[t][k];
      MoeChoice choice{t,  k, e, layer.weights_on_input ? scaled(layer, batch.tokens[t], weight) : batch.tokens[t],
                       {}, {}};
      choice.y = expert_forward(layer.expert, choice.x, layer.w1[e], layer.b1[e], layer.w2[e], layer.b2[e]);
      choice.dy = scaled(layer, batch.d_output[t], layer.weights_on_input ? 1.0f : weight);
      choices.push_back(std::move(choice));
    }
  return choices;
}

/// Sums per token over `row_of(choice number)`, with the router weights or with weight 1.
template <typename RowOf>
std::vector<Row> token_sums(MoeLayer const& layer, MoeBatch const& batch, std::vector<MoeChoice> const& choices,
                            TermSum const& sum, bool weighted, RowOf const& row_of) {
  std::vector<Row> out;
  for (std::size_t t = 0; t < batch.tokens.size(); ++t) {
    std::vector<Row> rows;
    std::vector<RecipeTerm> labels;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      if (choices[i].token != t) continue;
      RecipeTerm term;
      term.weight = weighted ? static_cast<double>(batch.weights[t][choices[i].slot]) : 1.0;
      term.slot = static_cast<int>(choices[i].slot);
      term.expert = static_cast<int>(choices[i].expert);
      labels.push_back(term);
      rows.push_back(row_of(i));
    }
    out.push_back(token_sum(layer, sum, rows, labels));
  }
  return out;
}

/// The gradients of every expert over its rows, tokens ascending, slots ascending. @return d_x of every choice
inline std::vector<Row> experts_backward(MoeLayer const& layer, std::vector<MoeChoice> const& choices,
                                         std::vector<ExpertGradients>& gradients) {
  std::vector<Row> d_x(choices.size());
  for (std::size_t e = 0; e < layer.w1.size(); ++e) {
    std::vector<Row> xs, dys;
    std::vector<std::size_t> numbers;
    for (std::size_t i = 0; i < choices.size(); ++i) {
      if (choices[i].expert != e) continue;
      xs.push_back(choices[i].x);
      dys.push_back(choices[i].dy);
      numbers.push_back(i);
    }
    gradients.push_back(expert_backward(layer.expert, xs, dys, layer.w1[e], layer.b1[e], layer.w2[e]));
    for (std::size_t row = 0; row < numbers.size(); ++row) d_x[numbers[row]] = gradients.back().d_x[row];
  }
  return d_x;
}

inline MoeAnswer run_layer(MoeLayer const& layer, MoeBatch const& batch) {
  MoeAnswer answer;
  auto const choices = choices_of(layer, batch);
  answer.output = token_sums(layer, batch, choices, layer.sum, !layer.weights_on_input,
                             [&](std::size_t i) { return choices[i].y; });
  auto const d_x = experts_backward(layer, choices, answer.experts);
  answer.d_tokens = token_sums(layer, batch, choices, layer.gradient_sum, false, [&](std::size_t i) { return d_x[i]; });
  for (auto const& ids : batch.ids) answer.d_weights.emplace_back(ids.size(), 0.0f);
  for (auto const& choice : choices) {
    float& to = answer.d_weights[choice.token][choice.slot];
    if (!layer.weights_on_input) {
      to = dot(choice.y, batch.d_output[choice.token]);
    } else {
      to = dot(batch.tokens[choice.token], answer.d_tokens[choice.token]);
      answer.d_tokens[choice.token] = scaled(layer, answer.d_tokens[choice.token], batch.weights[choice.token][0]);
    }
  }
  return answer;
}

}  // namespace oracle
