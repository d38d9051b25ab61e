// SPDX-License-Identifier: Apache-2.0
/// ParallelMlpConfig: MegaBlocks' expert layer as data: sizes, how experts' rows are binned, bias, and what a training
/// step keeps for its backward.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/dispatch/megablocks_planner.hpp"
#include "switchyard/experts/experts.hpp"

namespace switchyard {

/// What all ranks of the expert-parallel group must pass equally. Defaults are MegaBlocks' where it has any.
///
/// bins = capacity is MegaBlocks' MoE layer (batched matrix products), exact its dMoE with grouped_mlp, blocks its dMoE
/// with block-sparse products. world = 1 is forward_once, more ranks are parallel_forward_once; with more ranks than
/// experts, expert blocks are sharded over their FFN dimension (megablocks_grid()).
struct ParallelMlpConfig {
  int world = 1;
  int num_experts = 1;
  int top_k = 1;
  std::int64_t hidden = 0;      ///< H
  std::int64_t ffn_hidden = 0;  ///< I of a whole expert, all hidden shards together
  DType dtype = DType::bf16;    ///< of tokens, rows and outputs: f32, bf16 or f16
  ActivationSpec activation{Activation::gelu_tanh, GateLayout::plain};  ///< split layout: MegaBlocks' GLU
  std::optional<ExpertRounding> rounding{};  ///< none given: every_store(dtype), as its unfused kernels
  ExpertBins bins = ExpertBins::capacity;
  double capacity_factor = 1.0;   ///< of ExpertBins::capacity; 0 = the fullest expert's rows
  std::int64_t block_rows = 128;  ///< of ExpertBins::blocks
  bool return_bias = true;        ///< the bias is handed back for the caller to add, not added
  /// -1: the backward finds the experts' results as they were. 8: it finds them as int8 codes with one f32 scale per
  /// row (QuantScheme::int8_token: x * (127 / absmax), halves away from zero), which the gradients of the router
  /// weights read. The forward's bits do not change. MegaBlocks also knows 4, and leaves codes, groups and rounding of
  /// both to a package whose formulas are not published.
  int quantize_scatter_num_bits = -1;
  CombineRecipe recipe = CombineRecipe::megablocks();  ///< of outputs and of token gradients

  /// @throws Error{invalid_argument} naming the field; Error{unsupported} for bits other than -1 and 8, for a number of
  /// hidden shards that is not 1, 2, 4 or 8, or a dtype that is no row dtype.
  void validate() const;
  [[nodiscard]] MegaBlocksConfig dispatch_config() const;
  /// The experts of one rank: its expert block, and its hidden shard as a TP slice. @throws as validate()
  [[nodiscard]] ExpertMlp expert_mlp(RankId rank) const;
  friend bool operator==(ParallelMlpConfig const&, ParallelMlpConfig const&) = default;
};

/// The counts of a plan that must be on the host before its operations can be enqueued.
struct HostCounts {
  std::vector<std::int64_t> send_rows;     ///< [world] of the exchange; empty in a world of one
  std::vector<std::int64_t> receive_rows;  ///< [world]
  /// [local experts] rows that hold a token: the batch sizes of a grouped matrix product, 0 for an expert that nobody
  /// chose. MegaBlocks' GroupedMLP sums them from the matrix that it copied to the host for the exchange anyway, so
  /// they cost no second synchronisation; forward_once copies them for this alone. 64-bit here, int32 there.
  std::vector<std::int64_t> rows_per_expert;
  friend bool operator==(HostCounts const&, HostCounts const&) = default;
};
/// @param plan of plan_megablocks(). Pure.
[[nodiscard]] HostCounts host_counts(DispatchPlan const& plan);

/// @return [local experts] the rows of every expert's bin that hold a token; what lies behind them in a bin is padding.
/// @param plan of plan_megablocks(). Pure.
[[nodiscard]] std::vector<RowBlock> bin_blocks(DispatchPlan const& plan);

}  // namespace switchyard
