// SPDX-License-Identifier: Apache-2.0
/// MegaBlocks layers on emulated ranks: data of every rank, a run forward and backward, and the plain loops' answer.
#pragma once

#include <optional>
#include <random>
#include <string>
#include <vector>

#include "oracle/megablocks_oracle.hpp"
#include "support/layer_cases.hpp"
#include "switchyard/cpu/parallel_mlp.hpp"

namespace support {

struct MegaBlocksCase {
  switchyard::ParallelMlpConfig config{};
  bool biased = true;
  bool dropped_choices = true;                 ///< now and then a choice of -1
  std::optional<std::int32_t> every_choice{};  ///< one expert for all choices, or -1
  std::int64_t fixed_tokens = -1;              ///< -1: ranks hold 0 to 6 tokens
  std::uint64_t seed = 1;
};

inline MegaBlocksCase megablocks_case(int world, int experts, DType dtype, switchyard::ExpertBins bins) {
  MegaBlocksCase c;
  c.config.world = world;
  c.config.num_experts = experts;
  c.config.top_k = experts == 1 ? 1 : 2;
  c.config.hidden = 35;
  c.config.ffn_hidden = 24;
  c.config.dtype = dtype;
  c.config.bins = bins;
  c.config.capacity_factor = 0;
  c.config.block_rows = 4;
  c.config.return_bias = false;
  return c;
}

/// Everything that does not depend on who holds it.
struct MegaBlocksData {
  ExpertMlp whole{};
  ExpertOperands operands{};
  Matrix bias{};
  std::vector<Matrix> tokens{};
  std::vector<Matrix> d_output{};
  std::vector<switchyard::RoutingMap> routings{};
};

inline switchyard::RoutingMap random_routing(std::mt19937_64& random, MegaBlocksCase const& c, std::int64_t tokens) {
  auto const& config = c.config;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  for (std::int64_t token = 0; token < tokens; ++token) {
    // Experts 0 and 1 are popular, so that capacities bite.
    auto const bound =
        static_cast<std::uint64_t>(random() % 2 == 0 ? std::min(2, config.num_experts) : config.num_experts);
    auto const first = static_cast<std::int32_t>(random() % bound);
    for (int k = 0; k < config.top_k; ++k) {
      bool const dropped = c.dropped_choices && random() % 7 == 0;
      ids.push_back(c.every_choice.value_or(dropped ? -1 : (first + k) % config.num_experts));
      weights.push_back(0.01f + static_cast<float>(random() % 1000) / 997.0f);
    }
  }
  return switchyard::RoutingMap::from_topk(tokens, config.num_experts, config.top_k, std::move(ids),
                                           std::move(weights));
}

inline MegaBlocksData megablocks_data(MegaBlocksCase const& c) {
  std::mt19937_64 random(c.seed);
  MegaBlocksData data;
  data.whole.hidden = c.config.hidden;
  data.whole.intermediate = c.config.ffn_hidden;
  data.whole.num_local_experts = c.config.num_experts;
  data.whole.dtype = c.config.dtype;
  data.whole.activation = c.config.activation;
  data.whole.rounding = c.config.expert_mlp(switchyard::RankId{0}).rounding;
  data.operands = random_weights(random, data.whole);
  data.bias = random_matrix(random, c.config.dtype, 1, c.config.hidden);
  for (int rank = 0; rank < c.config.world; ++rank) {
    std::int64_t const tokens = c.fixed_tokens >= 0 ? c.fixed_tokens : (rank * 5 + 3) % 7;
    data.tokens.push_back(random_matrix(random, c.config.dtype, tokens, c.config.hidden));
    data.d_output.push_back(random_matrix(random, c.config.dtype, tokens, c.config.hidden));
    data.routings.push_back(random_routing(random, c, tokens));
  }
  return data;
}

/// This rank's part of the weights.
inline ExpertOperands megablocks_weights(MegaBlocksCase const& c, MegaBlocksData const& data, ExpertMlp const& mlp,
                                         int rank) {
  int const block = rank % switchyard::megablocks_grid(c.config.world, c.config.num_experts).expert_blocks;
  ExpertMlp one_shard = mlp;
  one_shard.tp = {};
  return tp_slice(expert_range(data.operands, data.whole, block * mlp.num_local_experts, mlp.num_local_experts),
                  one_shard, mlp);
}

/// What one rank computed, as bytes; every buffer was poisoned before.
struct MegaBlocksRankResult {
  std::vector<std::byte> output, d_tokens;
  std::vector<float> d_weights, d_w1, d_w2, d_bias;
  switchyard::cpu::ParallelMlpStep step{};
};

inline TensorView f32_view(std::vector<float>& values, std::int64_t rows, std::int64_t columns) {
  values.assign(static_cast<std::size_t>(rows * columns), -77.0f);
  return {values.data(), DType::f32, {rows, columns}};
}

inline MegaBlocksRankResult run_megablocks_rank(MegaBlocksCase const& c, MegaBlocksData const& data,
                                                switchyard::Communicator& comm) {
  auto const r = comm.rank().index();
  switchyard::cpu::ParallelMlp layer(comm, c.config);
  ExpertMlp const& mlp = layer.mlp();
  ExpertOperands const own = megablocks_weights(c, data, mlp, comm.rank().value());
  Matrix const& tokens = data.tokens[r];
  switchyard::cpu::ParallelMlpInputs inputs;
  inputs.tokens = tokens.view();
  inputs.routing = &data.routings[r];
  inputs.weights = weight_views(own, mlp, false);
  if (c.biased) inputs.bias = {data.bias.bytes.data(), c.config.dtype, {c.config.hidden}};
  MegaBlocksRankResult result;
  result.output = poison(tokens.bytes.size());
  result.d_tokens = result.output;
  switchyard::TensorShape const shape{tokens.rows(), c.config.hidden};
  (void)layer.forward(inputs, {result.output.data(), c.config.dtype, shape}, &result.step);
  switchyard::cpu::ParallelMlpGradients gradients;
  gradients.d_output = data.d_output[r].view();
  gradients.d_tokens = {result.d_tokens.data(), c.config.dtype, shape};
  result.d_weights.assign(data.routings[r].weights().size(), -77.0f);
  gradients.d_router_weights = result.d_weights;
  gradients.d_w1 = f32_view(result.d_w1, mlp.num_local_experts * mlp.first_layer_outputs(), mlp.hidden);
  gradients.d_w2 = f32_view(result.d_w2, mlp.num_local_experts * mlp.hidden, mlp.local_units());
  if (c.biased && !c.config.return_bias) gradients.d_bias = f32_view(result.d_bias, 1, c.config.hidden);
  layer.backward(result.step, inputs.weights, gradients);
  return result;
}

inline std::vector<MegaBlocksRankResult> run_megablocks_ranks(MegaBlocksCase const& c, MegaBlocksData const& data) {
  std::vector<MegaBlocksRankResult> results(static_cast<std::size_t>(c.config.world));
  auto const scheduler = switchyard::cpu::make_cooperative_scheduler();
  switchyard::cpu::run_ranks(*scheduler, c.config.world, {}, [&](switchyard::Communicator& comm) {
    results[comm.rank().index()] = run_megablocks_rank(c, data, comm);
  });
  return results;
}

inline oracle::MegaBlocksResult megablocks_answer(MegaBlocksCase const& c, MegaBlocksData const& data) {
  oracle::MegaBlocksLayer layer;
  layer.expert = oracle_of(data.whole);
  layer.experts = c.config.num_experts;
  layer.top_k = c.config.top_k;
  layer.capacity_bins = c.config.bins == switchyard::ExpertBins::capacity;
  layer.factor = c.config.capacity_factor;
  layer.int8_results = c.config.quantize_scatter_num_bits == 8;
  if (c.biased && !c.config.return_bias) layer.bias = data.bias.values;
  std::int64_t const outputs = data.whole.first_layer_outputs();
  for (std::int64_t e = 0; e < c.config.num_experts; ++e) {
    layer.w1.push_back(row_of(data.operands.w1, e * outputs, outputs));
    layer.w2.push_back(row_of(data.operands.w2, e * c.config.hidden, c.config.hidden));
  }
  std::vector<oracle::MegaBlocksRank> ranks;
  auto const k = static_cast<std::size_t>(c.config.top_k);
  for (std::size_t r = 0; r < data.tokens.size(); ++r) {
    oracle::MegaBlocksRank rank;
    for (std::int64_t t = 0; t < data.tokens[r].rows(); ++t) {
      auto const at = static_cast<std::size_t>(t) * k;
      auto const ids = data.routings[r].ids().subspan(at, k);
      auto const weights = data.routings[r].weights().subspan(at, k);
      rank.tokens.push_back(row_of(data.tokens[r], t));
      rank.d_output.push_back(row_of(data.d_output[r], t));
      rank.ids.emplace_back(ids.begin(), ids.end());
      rank.weights.emplace_back(weights.begin(), weights.end());
    }
    ranks.push_back(std::move(rank));
  }
  return oracle::run_megablocks(layer, ranks);
}

}  // namespace support
