// SPDX-License-Identifier: Apache-2.0
/// Whole MoE layers on emulated ranks: tokens, routing and weights of every rank, and the dense single-rank answer.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "support/expert_cases.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cpu/prepare_finalize.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/experts/moe_layer.hpp"

namespace support {

struct LayerCase {
  switchyard::cpu::PrepareKind kind = switchyard::cpu::PrepareKind::alltoall;
  switchyard::cpu::PrepareOptions options{};  ///< hidden and dtype are set from `mlp`
  switchyard::MoeLayerOptions layer{};        ///< global_num_experts is set from `mlp`
  ExpertMlp mlp{};                            ///< all experts, TP size 1
  int top_k = 2;
  bool biased = true;
  bool keep_all = false;  ///< every token has its top_k experts, and every rank tokens
  std::uint64_t seed = 1;

  [[nodiscard]] bool local() const {
    return kind == switchyard::cpu::PrepareKind::no_communication ||
           kind == switchyard::cpu::PrepareKind::no_communication_batched;
  }
  [[nodiscard]] int world() const { return options.grid.world(); }
};

/// 8 experts of small odd sizes; bf16.
inline LayerCase layer_case(switchyard::cpu::PrepareKind kind, int ep, int tp) {
  LayerCase c;
  c.kind = kind;
  c.mlp.hidden = 19;
  c.mlp.intermediate = 18;
  c.mlp.num_local_experts = 8;
  c.mlp.dtype = DType::bf16;
  c.mlp.rounding = switchyard::ExpertRounding::every_store(DType::bf16);
  c.options.grid = {tp, ep};
  c.options.hidden = c.mlp.hidden;
  c.options.dtype = c.mlp.dtype;
  c.options.max_tokens_per_rank = 8;
  c.layer.global_num_experts = 8;
  return c;
}

/// What one rank starts from.
struct LayerBatch {
  Matrix tokens;
  switchyard::RoutingMap routing;
};

/// Ranks hold 0 to 6 tokens; choices are distinct and, unless all are kept, dropped now and then.
inline LayerBatch layer_batch(LayerCase const& c, int rank, std::uint64_t batch = 0) {
  std::mt19937_64 random(c.seed * 1000003 + batch * 1009 + static_cast<std::uint64_t>(rank));
  std::int64_t const tokens = c.keep_all ? 1 + rank % 5 : (rank * 5 + 3 + static_cast<int>(batch)) % 7;
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  for (std::int64_t token = 0; token < tokens; ++token) {
    auto const first = static_cast<std::int32_t>(random() % 8);
    auto const step = static_cast<std::int32_t>(1 + 2 * (random() % 4));  // odd: experts are distinct
    for (int k = 0; k < c.top_k; ++k) {
      ids.push_back(!c.keep_all && random() % 6 == 0 ? -1 : (first + k * step) % 8);
      weights.push_back(0.01f + static_cast<float>(random() % 1000) / 997.0f);
    }
  }
  return {random_matrix(random, c.mlp.dtype, tokens, c.mlp.hidden),
          switchyard::RoutingMap::from_topk(tokens, 8, c.top_k, std::move(ids), std::move(weights))};
}

/// Experts [first, first + count) of `whole`.
inline ExpertOperands expert_range(ExpertOperands const& whole, ExpertMlp const& mlp, std::int64_t first,
                                   std::int64_t count) {
  std::int64_t const outputs = mlp.intermediate * mlp.activation.inputs_per_unit();
  return {matrix_of(mlp.dtype, mlp.hidden, row_of(whole.w1, first * outputs, count * outputs)),
          matrix_of(mlp.dtype, mlp.intermediate, row_of(whole.w2, first * mlp.hidden, count * mlp.hidden)),
          matrix_of(DType::f32, outputs, row_of(whole.b1, first, count)),
          matrix_of(mlp.dtype, mlp.hidden, row_of(whole.b2, first, count))};
}

inline switchyard::ExpertWeights weight_views(ExpertOperands const& w, ExpertMlp const& mlp, bool biased) {
  std::int64_t const experts = mlp.num_local_experts;
  switchyard::ExpertWeights views;
  views.w1 = {w.w1.bytes.data(), mlp.dtype, {experts, mlp.first_layer_outputs(), mlp.hidden}};
  views.w2 = {w.w2.bytes.data(), mlp.dtype, {experts, mlp.hidden, mlp.local_units()}};
  if (biased) {
    views.b1 = {w.b1.bytes.data(), DType::f32, {experts, mlp.first_layer_outputs()}};
    views.b2 = {w.b2.bytes.data(), mlp.dtype, {experts, mlp.hidden}};
  }
  return views;
}

/// One rank's layer with everything it needs.
struct RankLayer {
  switchyard::ExpertPlacement placement;
  ExpertMlp mlp;
  ExpertOperands operands;
  std::unique_ptr<switchyard::PrepareFinalize> prepare;
  std::unique_ptr<switchyard::cpu::ExactExperts> experts;
  std::unique_ptr<switchyard::MoeLayer> layer;
  bool biased;

  RankLayer(LayerCase const& c, ExpertOperands const& whole, switchyard::Communicator& comm)
      : placement(switchyard::ExpertPlacement::contiguous(1, c.mlp.num_local_experts, c.options.grid.ep)),
        mlp(c.mlp),
        biased(c.biased) {
    auto const rank = comm.rank();
    int const ep_rank = c.options.grid.ep_rank_of(rank);
    auto const slots = placement.rank_slots(0, switchyard::RankId{ep_rank});
    auto const local = static_cast<std::int64_t>(slots.size());
    std::int64_t const first = local == 0 ? 0 : slots.front().value();
    mlp.num_local_experts = static_cast<int>(local);
    ExpertMlp const one_rank = mlp;
    mlp.tp = {c.options.grid.tp_rank_of(rank), c.options.grid.tp};
    operands = tp_slice(expert_range(whole, c.mlp, first, local), one_rank, mlp);
    prepare = switchyard::cpu::make_prepare_finalize(c.kind, comm, placement, c.options);
    experts = std::make_unique<switchyard::cpu::ExactExperts>(mlp);
    layer = std::make_unique<switchyard::MoeLayer>(*prepare, *experts, switchyard::exact_experts_traits(), c.layer);
  }
  RankLayer(RankLayer const&) = delete;
  [[nodiscard]] switchyard::ExpertWeights weights() const { return weight_views(operands, mlp, biased); }
};

inline TensorView output_view(LayerCase const& c, std::vector<std::byte>& bytes, LayerBatch const& batch) {
  return {bytes.data(), c.mlp.dtype, {batch.routing.num_tokens(), c.mlp.hidden}};
}

/// What quantising and widening does to rows.
inline Matrix requantised(switchyard::QuantSpec const& spec, Matrix const& x) {
  std::vector<float> values(x.values.size());
  switchyard::cpu::dequantize(switchyard::cpu::quantize(spec, x.view()).view(), values);
  return matrix_of(DType::f32, x.columns, values);
}

/// The dense answer: for every token its slots ascending, all experts at hand; a pair without communication knows the
/// experts of its own rank only.
inline std::vector<std::byte> dense_answer(LayerCase const& c, ExpertOperands const& whole, LayerBatch const& batch,
                                           int rank) {
  auto const round = rounding_of(c.mlp.dtype);
  bool const on_input = c.layer.router_weight_on_input;
  std::vector<float> seen = batch.tokens.values;
  for (std::size_t i = 0; on_input && i < seen.size(); ++i)
    seen[i] = round(seen[i] * batch.routing.weights()[i / static_cast<std::size_t>(c.mlp.hidden)]);
  Matrix input = matrix_of(c.mlp.dtype, c.mlp.hidden, seen);
  if (c.options.quant && !seen.empty()) input = requantised(*c.options.quant, input);
  std::int64_t const local = c.mlp.num_local_experts / c.options.grid.ep;
  std::vector<float> out;
  for (std::int64_t token = 0; token < batch.routing.num_tokens(); ++token) {
    oracle::Row sum(static_cast<std::size_t>(c.mlp.hidden), 0.0f);
    for (int k = 0; k < c.top_k; ++k) {
      auto const flat = static_cast<std::size_t>(token * c.top_k + k);
      std::int64_t const expert = batch.routing.ids()[flat];
      if (expert < 0 || (c.local() && expert / local != rank)) continue;
      auto const y = oracle_row(c.mlp, whole, c.biased, expert, row_of(input, token));
      for (std::size_t h = 0; h < sum.size(); ++h)
        sum[h] = sum[h] + (on_input ? y[h] : batch.routing.weights()[flat] * y[h]);
    }
    for (float const value : sum) out.push_back(round(value));
  }
  return matrix_of(c.mlp.dtype, c.mlp.hidden, out).bytes;
}

}  // namespace support
