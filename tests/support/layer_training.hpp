// SPDX-License-Identifier: Apache-2.0
/// A training step of a MoE layer on emulated ranks whose tokens do not depend on the grid, and the comparison of every
/// output and gradient with tests/oracle/moe_layer_oracle.hpp.
#pragma once

#include <cstring>
#include <string>
#include <vector>

#include "oracle/moe_layer_oracle.hpp"
#include "support/layer_cases.hpp"

namespace support {

/// All ranks' tokens, as matrices and as the oracle reads them.
struct TrainingBatch {
  Matrix tokens, d_output;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  int top_k = 2;

  [[nodiscard]] std::int64_t count() const { return tokens.rows(); }
};

/// Distinct experts per token; every sixth choice is dropped.
inline TrainingBatch training_batch(LayerCase const& c, std::int64_t tokens, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  TrainingBatch batch{random_matrix(random, c.mlp.dtype, tokens, c.mlp.hidden),
                      random_matrix(random, c.mlp.dtype, tokens, c.mlp.hidden),
                      {},
                      {},
                      c.top_k};
  for (std::int64_t token = 0; token < tokens; ++token) {
    auto const first = static_cast<std::int32_t>(random() % 8);
    auto const step = static_cast<std::int32_t>(1 + 2 * (random() % 4));  // odd: experts are distinct
    for (int k = 0; k < c.top_k; ++k) {
      batch.ids.push_back(random() % 6 == 0 ? -1 : (first + k * step) % 8);
      batch.weights.push_back(0.01f + static_cast<float>(random() % 1000) / 997.0f);
    }
  }
  return batch;
}

/// Tokens [first, first + count) belong to a rank.
struct TokenRange {
  std::int64_t first, count;
};
inline TokenRange tokens_of(std::int64_t tokens, int world, int rank) {
  std::int64_t const first = tokens * rank / world;
  return {first, tokens * (rank + 1) / world - first};
}

/// Choices of experts that are not on the token's own rank are dropped: what a pair without communication leaves.
inline void keep_local_choices(LayerCase const& c, TrainingBatch& batch) {
  for (int rank = 0; rank < c.world(); ++rank) {
    TokenRange const own = tokens_of(batch.count(), c.world(), rank);
    for (std::int64_t i = own.first * c.top_k; i < (own.first + own.count) * c.top_k; ++i) {
      auto& id = batch.ids[static_cast<std::size_t>(i)];
      if (id >= 0 && id / (8 / c.options.grid.ep) != rank) id = -1;
    }
  }
}

inline oracle::MoeBatch oracle_batch(TrainingBatch const& batch) {
  oracle::MoeBatch out;
  auto const k = static_cast<std::size_t>(batch.top_k);
  for (std::int64_t token = 0; token < batch.count(); ++token) {
    auto const first = static_cast<std::size_t>(token) * k;
    out.tokens.push_back(row_of(batch.tokens, token));
    out.d_output.push_back(row_of(batch.d_output, token));
    out.ids.emplace_back(batch.ids.begin() + static_cast<std::ptrdiff_t>(first),
                         batch.ids.begin() + static_cast<std::ptrdiff_t>(first + k));
    out.weights.emplace_back(batch.weights.begin() + static_cast<std::ptrdiff_t>(first),
                             batch.weights.begin() + static_cast<std::ptrdiff_t>(first + k));
  }
  return out;
}

inline oracle::FloatFormat float_format(DType dtype) {
  if (dtype == DType::f32) return oracle::kFormatF32;
  return dtype == DType::bf16 ? oracle::kFormatBf16 : oracle::kFormatF16;
}

/// The oracle of a case; its sums are the caller's to set.
inline oracle::MoeLayer oracle_layer(LayerCase const& c, ExpertOperands const& whole) {
  oracle::MoeLayer layer;
  layer.expert = oracle_of(c.mlp);
  layer.row = float_format(c.mlp.dtype);
  layer.weights_on_input = c.layer.router_weight_on_input;
  std::int64_t const outputs = c.mlp.first_layer_outputs();
  for (std::int64_t e = 0; e < c.mlp.num_local_experts; ++e) {
    layer.w1.push_back(row_of(whole.w1, e * outputs, outputs));
    layer.w2.push_back(row_of(whole.w2, e * c.mlp.hidden, c.mlp.hidden));
    layer.b1.push_back(c.biased ? row_of(whole.b1, e) : oracle::Row{});
    layer.b2.push_back(c.biased ? row_of(whole.b2, e) : oracle::Row{});
  }
  return layer;
}

/// What one rank computes, poisoned before.
struct RankResults {
  std::vector<std::byte> output, d_tokens;
  std::vector<float> d_weights, d_w1, d_w2, d_b1, d_b2;
  switchyard::MoeGradients views;

  RankResults(ExpertMlp const& mlp, std::int64_t tokens, int top_k)
      : output(poison(static_cast<std::size_t>(tokens * mlp.hidden * switchyard::size_of(mlp.dtype)))),
        d_tokens(output) {
    std::int64_t const experts = mlp.num_local_experts;
    std::int64_t const outputs = mlp.first_layer_outputs();
    auto const floats = [](std::vector<float>& values, std::int64_t count) {
      values.assign(static_cast<std::size_t>(count), -7.5f);
      return values.data();
    };
    views.d_tokens = {d_tokens.data(), mlp.dtype, {tokens, mlp.hidden}};
    floats(d_weights, tokens * top_k);
    views.d_router_weights = d_weights;
    views.d_w1 = {floats(d_w1, experts * outputs * mlp.hidden), DType::f32, {experts, outputs, mlp.hidden}};
    views.d_w2 = {
        floats(d_w2, experts * mlp.hidden * mlp.local_units()), DType::f32, {experts, mlp.hidden, mlp.local_units()}};
    views.d_b1 = {floats(d_b1, experts * outputs), DType::f32, {experts, outputs}};
    views.d_b2 = {floats(d_b2, experts * mlp.hidden), DType::f32, {experts, mlp.hidden}};
  }
  RankResults(RankResults const&) = delete;
};

/// One rank's part of a batch.
struct RankBatch {
  ConstTensorView tokens, d_output;
  switchyard::RoutingMap routing;

  RankBatch(LayerCase const& c, TrainingBatch const& batch, int rank)
      : routing(routing_of(batch, tokens_of(batch.count(), c.world(), rank))) {
    TokenRange const own = tokens_of(batch.count(), c.world(), rank);
    std::int64_t const bytes = c.mlp.hidden * switchyard::size_of(c.mlp.dtype);
    tokens = {batch.tokens.bytes.data() + own.first * bytes, c.mlp.dtype, {own.count, c.mlp.hidden}};
    d_output = {batch.d_output.bytes.data() + own.first * bytes, c.mlp.dtype, {own.count, c.mlp.hidden}};
  }
  static switchyard::RoutingMap routing_of(TrainingBatch const& batch, TokenRange own) {
    std::ptrdiff_t const first = own.first * batch.top_k;
    std::ptrdiff_t const end = first + own.count * batch.top_k;
    return switchyard::RoutingMap::from_topk(own.count, 8, batch.top_k,
                                             {batch.ids.begin() + first, batch.ids.begin() + end},
                                             {batch.weights.begin() + first, batch.weights.begin() + end});
  }
  RankBatch(RankBatch const&) = delete;
};

/// Collects what differs, by the name of the tensor.
class Differences {
 public:
  void compare(std::string const& name, std::vector<float> const& got, std::vector<float> const& want) {
    if (got.size() != want.size()) return add(name + " has another size");
    for (std::size_t i = 0; i < got.size(); ++i)
      if (std::memcmp(&got[i], &want[i], sizeof(float)) != 0)
        return add(name + "[" + std::to_string(i) + "] is " + std::to_string(got[i]) + ", not " +
                   std::to_string(want[i]));
  }
  void compare(std::string const& name, DType dtype, std::vector<std::byte> const& got,
               std::vector<oracle::Row> const& want, TokenRange own) {
    std::vector<float> flat;
    for (std::int64_t t = own.first; t < own.first + own.count; ++t)
      flat.insert(flat.end(), want[static_cast<std::size_t>(t)].begin(), want[static_cast<std::size_t>(t)].end());
    if (got != matrix_of(dtype, 1, flat).bytes) add(name + " differs");
  }
  [[nodiscard]] std::string const& text() const { return text_; }

 private:
  void add(std::string const& what) { text_ += what + "; "; }
  std::string text_;
};

/// The part of the oracle's weight gradients that a rank computes.
inline ExpertOperands gradient_slice(LayerCase const& c, oracle::MoeAnswer const& answer, ExpertMlp const& slice,
                                     std::int64_t first_expert) {
  ExpertMlp mlp = c.mlp;
  mlp.dtype = DType::f32;
  std::vector<float> w1, w2, b1, b2;
  for (auto const& e : answer.experts) {
    w1.insert(w1.end(), e.d_w1.begin(), e.d_w1.end());
    w2.insert(w2.end(), e.d_w2.begin(), e.d_w2.end());
    b1.insert(b1.end(), e.d_b1.begin(), e.d_b1.end());
    b2.insert(b2.end(), e.d_b2.begin(), e.d_b2.end());
  }
  ExpertOperands const whole{matrix_of(DType::f32, mlp.hidden, w1), matrix_of(DType::f32, mlp.intermediate, w2),
                             matrix_of(DType::f32, mlp.first_layer_outputs(), b1),
                             matrix_of(DType::f32, mlp.hidden, b2)};
  ExpertOperands const mine = expert_range(whole, mlp, first_expert, slice.num_local_experts);
  mlp.num_local_experts = slice.num_local_experts;
  return tp_slice(mine, mlp, slice);
}

/// @return what of a rank's results is not the oracle's; empty when all bits agree.
inline std::string differences(LayerCase const& c, oracle::MoeAnswer const& answer, RankResults const& got,
                               ExpertMlp const& slice, int rank, std::int64_t num_tokens) {
  Differences found;
  TokenRange const own = tokens_of(num_tokens, c.world(), rank);
  found.compare("output", c.mlp.dtype, got.output, answer.output, own);
  found.compare("d_tokens", c.mlp.dtype, got.d_tokens, answer.d_tokens, own);
  std::vector<float> d_weights;
  for (std::int64_t t = own.first; t < own.first + own.count; ++t) {
    auto const& token = answer.d_weights[static_cast<std::size_t>(t)];
    d_weights.insert(d_weights.end(), token.begin(), token.end());
  }
  found.compare("d_router_weights", got.d_weights, d_weights);
  ExpertOperands const want =
      gradient_slice(c, answer, slice, c.options.grid.ep_rank_of(switchyard::RankId{rank}) * slice.num_local_experts);
  found.compare("d_w1", got.d_w1, want.w1.values);
  found.compare("d_w2", got.d_w2, want.w2.values);
  if (c.biased) found.compare("d_b1", got.d_b1, want.b1.values);
  if (c.biased) found.compare("d_b2", got.d_b2, want.b2.values);
  return found.text();
}

}  // namespace support
