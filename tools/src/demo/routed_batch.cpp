// SPDX-License-Identifier: Apache-2.0
#include "demo/routed_batch.hpp"

#include <algorithm>
#include <bit>

#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/sim/load_generator.hpp"
#include "switchyard/sim/routing_generator.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace switchyard::demo {
namespace {

/// What one rank contributes to the figures of one layer.
struct RankRows {
  std::int64_t received = 0;
  std::int64_t own = 0;  ///< of them, rows of this rank's tokens
};

/// A finite number of random sign and mantissa between 2^-8 and 2^8.
float wide_value(std::uint64_t bits) {
  auto const exponent = static_cast<std::uint32_t>(119 + bits % 16);
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits >> 32 & 0x80000000U) | exponent << 23 |
                              static_cast<std::uint32_t>(bits >> 8 & 0x7fffffU));
}

/// [experts * hidden] numbers in [1, 2).
std::vector<float> make_scales(int layer, std::int64_t experts, std::int64_t hidden) {
  CounterRng const rng(7, static_cast<std::uint64_t>(layer));
  std::vector<float> scales(static_cast<std::size_t>(experts * hidden));
  for (std::size_t i = 0; i < scales.size(); ++i) {
    scales[i] = std::bit_cast<float>(static_cast<std::uint32_t>(0x3f800000U | (rng.bits(i) >> 41)));
  }
  return scales;
}

RoutedLayer make_layer(sim::LoadSpec const& spec, BatchShape const& shape, int layer) {
  sim::RoutingSpec routing;
  routing.top_k = spec.top_k;
  routing.tokens_of_rank.assign(static_cast<std::size_t>(shape.num_ranks), shape.tokens_per_rank);
  routing.expert_weights = sim::expert_popularity(spec, 0, layer);
  routing.seed = spec.seed + static_cast<std::uint64_t>(layer);
  RoutedLayer made{layer, sim::generate_routing(routing), {}, make_scales(layer, spec.num_experts, shape.hidden)};
  for (int rank = 0; rank < shape.num_ranks; ++rank) {
    CounterRng const rng(spec.seed, static_cast<std::uint64_t>(layer) << 16 | static_cast<std::uint64_t>(rank));
    auto& values = made.tokens.emplace_back(static_cast<std::size_t>(shape.tokens_per_rank * shape.hidden));
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = wide_value(rng.bits(i));
  }
  return made;
}

/// The experts of one rank, in place: rows are grouped by local expert.
void apply_experts(DispatchPlan const& plan, ExpertPlacement const& placement, RoutedLayer const& batch,
                   std::int64_t hidden, std::vector<float>& rows) {
  float* values = rows.data();
  for (int local = 0; local < plan.num_local_experts(); ++local) {
    std::int64_t const expert = placement.expert_at(batch.layer, SlotId(plan.first_slot + local)).value();
    float const* const scales = batch.expert_scales.data() + expert * hidden;
    for (std::int64_t row = 0; row < plan.tokens_per_local_expert[static_cast<std::size_t>(local)]; ++row) {
      for (std::int64_t column = 0; column < hidden; ++column, ++values) *values *= scales[column];
    }
  }
}

std::int64_t rows_kept(DispatchPlan const& plan) {
  auto const first = plan.rows_per_slot.begin() + plan.first_slot;
  std::int64_t sum = 0;
  std::for_each(first, first + plan.num_local_experts(), [&](std::int64_t rows) { sum += rows; });
  return sum;
}

/// One rank, one layer: plan, dispatch, experts, combine.
RankRows run_rank(Communicator& comm, cpu::CpuExecutor& executor, BatchShape const& shape, RoutedLayer const& batch,
                  ExpertPlacement const& placement, std::vector<float>& combined) {
  auto const rank = comm.rank().index();
  RoutingMap const& routing = batch.routings[rank];
  AllToAllConfig config;
  config.grid = {1, shape.num_ranks};
  DispatchPlan const plan = plan_alltoall(comm, config, routing, placement, batch.layer);
  std::vector<float> rows(static_cast<std::size_t>(plan.num_expert_rows() * shape.hidden));
  auto const tokens =
      ConstTensorView::matrix(std::span<float const>(batch.tokens[rank]), shape.tokens_per_rank, shape.hidden);
  auto const row_view = TensorView::matrix(std::span<float>(rows), plan.num_expert_rows(), shape.hidden);
  executor.dispatch(plan, tokens, row_view);
  apply_experts(plan, placement, batch, shape.hidden, rows);
  combined.resize(batch.tokens[rank].size());
  executor.combine(plan, CombineRecipe::source_slot_order(), row_view, routing.weights(),
                   TensorView::matrix(std::span<float>(combined), shape.tokens_per_rank, shape.hidden));
  return {plan.num_expert_rows(), rows_kept(plan)};
}

void add_figures(BatchResult& result, std::vector<RankRows> const& ranks, std::size_t num_layers) {
  std::int64_t total = 0;
  std::int64_t busiest = 0;
  for (RankRows const& rank : ranks) {
    total += rank.received;
    result.remote_rows += rank.received - rank.own;
    busiest = std::max(busiest, rank.received);
  }
  result.rows += total;
  double const mean = static_cast<double>(total) / static_cast<double>(ranks.size());
  result.mean_row_par += static_cast<double>(busiest) / mean / static_cast<double>(num_layers);
}

/// One token in plain loops: fp32, one product and one sum at a time.
void combine_token(RoutedLayer const& batch, std::size_t rank, std::int64_t token, std::int64_t hidden, bool descending,
                   std::vector<float>& combined) {
  std::vector<RoutingChoice> choices;
  batch.routings[rank].choices_of(TokenIndex(token), choices);
  if (descending) std::reverse(choices.begin(), choices.end());
  for (std::int64_t column = 0; column < hidden; ++column) {
    auto const at = static_cast<std::size_t>(token * hidden + column);
    float sum = 0;
    for (RoutingChoice const& choice : choices) {
      float const scale = batch.expert_scales[static_cast<std::size_t>(choice.expert.value() * hidden + column)];
      float const product = choice.weight * (batch.tokens[rank][at] * scale);
      sum = sum + product;
    }
    combined[at] = sum;
  }
}

}  // namespace

RoutedBatch make_batch(sim::LoadSpec const& spec, BatchShape const& shape) {
  RoutedBatch batch{shape, {}};
  for (int layer = 0; layer < spec.num_layers; ++layer) batch.layers.push_back(make_layer(spec, shape, layer));
  return batch;
}

BatchResult run_batch(RoutedBatch const& batch, ExpertPlacement const& placement) {
  auto const ranks = static_cast<std::size_t>(batch.shape.num_ranks);
  BatchResult result;
  result.layers.assign(batch.layers.size(), Combined(ranks));
  std::vector<std::vector<RankRows>> rows(batch.layers.size(), std::vector<RankRows>(ranks));
  auto const scheduler = cpu::make_thread_scheduler();
  cpu::run_ranks(*scheduler, batch.shape.num_ranks, {}, [&](Communicator& comm) {
    cpu::CpuExecutor executor(comm);
    auto const rank = comm.rank().index();
    for (std::size_t i = 0; i < batch.layers.size(); ++i) {
      rows[i][rank] = run_rank(comm, executor, batch.shape, batch.layers[i], placement, result.layers[i][rank]);
    }
  });
  for (auto const& layer : rows) add_figures(result, layer, rows.size());
  return result;
}

std::vector<Combined> combine_in_plain_loops(RoutedBatch const& batch, bool descending) {
  std::vector<Combined> layers;
  for (RoutedLayer const& layer : batch.layers) {
    Combined& combined = layers.emplace_back(layer.tokens.size());
    for (std::size_t rank = 0; rank < layer.tokens.size(); ++rank) {
      combined[rank].resize(layer.tokens[rank].size());
      for (std::int64_t token = 0; token < batch.shape.tokens_per_rank; ++token) {
        combine_token(layer, rank, token, batch.shape.hidden, descending, combined[rank]);
      }
    }
  }
  return layers;
}

std::int64_t count_differences(std::vector<Combined> const& a, std::vector<Combined> const& b) {
  std::int64_t differences = 0;
  for (std::size_t layer = 0; layer < a.size(); ++layer) {
    for (std::size_t rank = 0; rank < a[layer].size(); ++rank) {
      auto const& left = a[layer][rank];
      auto const& right = b[layer][rank];
      for (std::size_t i = 0; i < left.size(); ++i) {
        differences += std::bit_cast<std::uint32_t>(left[i]) == std::bit_cast<std::uint32_t>(right[i]) ? 0 : 1;
      }
    }
  }
  return differences;
}

}  // namespace switchyard::demo
