// SPDX-License-Identifier: Apache-2.0
#include "commands/layer_data.hpp"

#include <algorithm>

#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace switchyard::cli {
namespace {

enum Stream : std::uint64_t { kTokens, kIds, kWeights, kW1, kW2, kB1, kB2, kOutputGradients };

/// Values in (-1, 1) / 2 of 24 bits, stored in a dtype.
class Values {
 public:
  Values(LayerDescription const& description, Stream stream) : rng_(description.seed, stream) {}

  void append(std::vector<std::byte>& out, DType dtype, std::int64_t index) const {
    float const value = unit(index);
    if (dtype == DType::f32) return append_bits(out, value);
    if (dtype == DType::bf16) return append_bits(out, to_bf16(value));
    append_bits(out, to_f16(value));
  }
  void append_range(std::vector<std::byte>& out, DType dtype, std::int64_t first, std::int64_t count) const {
    for (std::int64_t i = first; i < first + count; ++i) append(out, dtype, i);
  }
  [[nodiscard]] float unit(std::int64_t index) const {
    auto const bits = static_cast<std::int64_t>(rng_.bits(static_cast<std::uint64_t>(index)) >> 39);
    return static_cast<float>(bits - (std::int64_t{1} << 24)) / static_cast<float>(std::int64_t{1} << 25);
  }

 private:
  template <typename T>
  static void append_bits(std::vector<std::byte>& out, T value) {
    auto const* const bytes = reinterpret_cast<std::byte const*>(&value);
    out.insert(out.end(), bytes, bytes + sizeof value);
  }
  CounterRng rng_;
};

std::vector<std::byte> make_rows(LayerDescription const& d, Stream stream, TokenBlock const& block) {
  std::vector<std::byte> rows;
  Values(d, stream).append_range(rows, d.mlp.dtype, block.first * d.mlp.hidden, block.count * d.mlp.hidden);
  return rows;
}

}  // namespace

TokenBlock token_block(std::int64_t tokens, int ranks, int rank) {
  std::int64_t const extra = tokens % ranks;
  return {tokens / ranks * rank + std::min<std::int64_t>(rank, extra), tokens / ranks + (rank < extra ? 1 : 0)};
}

RoutingMap make_routing(LayerDescription const& d, TokenBlock const& block) {
  CounterRng const drawn(d.seed, kIds);
  Values const weights(d, kWeights);
  auto const experts = static_cast<std::uint64_t>(d.mlp.num_local_experts);
  std::vector<std::int32_t> ids;
  std::vector<float> probs;
  for (std::int64_t token = block.first; token < block.first + block.count; ++token)
    for (int k = 0; k < d.top_k; ++k) {
      std::uint64_t const start = drawn.below(static_cast<std::uint64_t>(token), experts);
      ids.push_back(static_cast<std::int32_t>((start + static_cast<std::uint64_t>(k)) % experts));
      probs.push_back(1.0F + weights.unit(token * d.top_k + k));
    }
  return RoutingMap::from_topk(block.count, d.mlp.num_local_experts, d.top_k, std::move(ids), std::move(probs));
}

std::vector<std::byte> make_tokens(LayerDescription const& description, TokenBlock const& block) {
  return make_rows(description, kTokens, block);
}

std::vector<std::byte> make_output_gradients(LayerDescription const& description, TokenBlock const& block) {
  return make_rows(description, kOutputGradients, block);
}

SliceRows::SliceRows(LayerDescription const& d, ExpertMlp const& slice, std::span<ExpertId const> experts)
    : first_column(slice.first_unit()), columns(slice.local_units()) {
  std::vector<std::int64_t> of_expert(to_size(slice.first_layer_outputs()));
  for (std::int64_t unit = 0; unit < slice.local_units(); ++unit) {
    of_expert[to_size(slice.gate_row(unit))] = d.mlp.gate_row(slice.first_unit() + unit);
    of_expert[to_size(slice.up_row(unit))] = d.mlp.up_row(slice.first_unit() + unit);
  }
  for (ExpertId const expert : experts) {
    for (std::int64_t const row : of_expert) w1.push_back(expert.value() * d.mlp.first_layer_outputs() + row);
    for (std::int64_t row = 0; row < d.mlp.hidden; ++row) w2.push_back(expert.value() * d.mlp.hidden + row);
  }
}

SliceWeights::SliceWeights(LayerDescription const& d, ExpertMlp const& slice, SliceRows const& rows)
    : mlp_(slice), biased_(d.biased) {
  for (std::int64_t const row : rows.w1) {
    Values(d, kW1).append_range(w1_, mlp_.dtype, row * mlp_.hidden, mlp_.hidden);
    Values(d, kB1).append(b1_, DType::f32, row);
  }
  for (std::int64_t const row : rows.w2) {
    Values(d, kW2).append_range(w2_, mlp_.dtype, row * mlp_.intermediate + rows.first_column, rows.columns);
    Values(d, kB2).append(b2_, mlp_.dtype, row);
  }
}

ExpertWeights SliceWeights::views() const {
  std::int64_t const experts = mlp_.num_local_experts;
  ExpertWeights views;
  views.w1 = {w1_.data(), mlp_.dtype, {experts, mlp_.first_layer_outputs(), mlp_.hidden}};
  views.w2 = {w2_.data(), mlp_.dtype, {experts, mlp_.hidden, mlp_.local_units()}};
  if (!biased_) return views;
  views.b1 = {b1_.data(), DType::f32, {experts, mlp_.first_layer_outputs()}};
  views.b2 = {b2_.data(), mlp_.dtype, {experts, mlp_.hidden}};
  return views;
}

}  // namespace switchyard::cli
