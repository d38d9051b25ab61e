// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/parallel_mlp.hpp"

#include <cmath>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

void ParallelMlpConfig::validate() const {
  SWITCHYARD_REQUIRE(top_k >= 1 && top_k <= num_experts, invalid_argument, "top-{} of {} experts", top_k, num_experts);
  SWITCHYARD_REQUIRE(std::isfinite(capacity_factor) && capacity_factor >= 0, invalid_argument,
                     "capacity factor {}: must be finite and not negative; 0 drops nothing", capacity_factor);
  SWITCHYARD_REQUIRE(bins != ExpertBins::blocks || block_rows >= 1, invalid_argument,
                     "expert blocks of {} rows: at least 1 is required", block_rows);
  SWITCHYARD_REQUIRE(quantize_scatter_num_bits == -1 || quantize_scatter_num_bits == 8, unsupported,
                     "quantize_scatter_num_bits of {}: -1 (none) and 8 are offered", quantize_scatter_num_bits);
  switchyard::validate(recipe);
  static_cast<void>(expert_mlp(RankId{0}));
}

MegaBlocksConfig ParallelMlpConfig::dispatch_config() const {
  MegaBlocksConfig config;
  config.world = world;
  config.bins = bins;
  config.capacity_factor = capacity_factor;
  config.block_rows = block_rows;
  config.top_k = top_k;
  return config;
}

ExpertMlp ParallelMlpConfig::expert_mlp(RankId rank) const {
  MegaBlocksGrid const grid = megablocks_grid(world, num_experts);
  SWITCHYARD_REQUIRE(rank.value() >= 0 && rank.value() < world, invalid_argument, "rank {} of a world of {}",
                     rank.value(), world);
  SWITCHYARD_REQUIRE(ffn_hidden % grid.hidden_shards == 0, invalid_argument,
                     "an FFN dimension of {} cannot be cut into {} hidden shards ({} ranks, {} experts)", ffn_hidden,
                     grid.hidden_shards, world, num_experts);
  ExpertMlp mlp;
  mlp.hidden = hidden;
  mlp.intermediate = ffn_hidden;
  mlp.num_local_experts = num_experts / grid.expert_blocks;
  mlp.dtype = dtype;
  mlp.activation = activation;
  mlp.rounding = rounding.value_or(ExpertRounding::every_store(dtype));
  mlp.tp = {rank.value() / grid.expert_blocks, grid.hidden_shards};
  mlp.validate();
  return mlp;
}

HostCounts host_counts(DispatchPlan const& plan) {
  HostCounts counts;
  if (auto const* exchange = plan.find<RowExchange>()) {
    counts.send_rows = exchange->send_rows;
    counts.receive_rows = exchange->receive_rows;
  }
  counts.rows_per_expert = filled_rows(plan);
  return counts;
}

std::vector<RowBlock> bin_blocks(DispatchPlan const& plan) {
  std::vector<std::int64_t> const filled = filled_rows(plan);
  std::vector<RowBlock> blocks;
  std::int64_t first = 0;
  for (std::size_t local = 0; local < filled.size(); ++local) {
    blocks.push_back({first, filled[local]});
    first += plan.tokens_per_local_expert[local];
  }
  return blocks;
}

}  // namespace switchyard
