// SPDX-License-Identifier: Apache-2.0
/// CombineRecipe: the order and the rounding points of the weighted sum over a token's experts, as data.
///
/// Every field is a rounding decision, so two equal recipes give equal bits on every backend.
/// docs/determinism/recipes.md walks through each named recipe; the arithmetic itself is
/// core/hd/switchyard/hd/recipes*.hpp.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/types/dtype.hpp"

namespace switchyard {

/// The order in which the terms of one output element are added.
enum class SumOrder : std::uint8_t {
  source_slot,       ///< at the source rank, slot (k) ascending; a dense map's slots are experts ascending
  source_expert,     ///< at the source rank, logical expert ascending; equal experts by slot
  rank_then_expert,  ///< inside each rank local expert ascending (equal ones by slot), then ranks ascending
  any,               ///< no order: the sum is exact, so none is needed
};

/// Where the weight meets the expert's row.
enum class MultiplyAt : std::uint8_t {
  source_rank,  ///< rows come back as the experts made them
  expert_rank,  ///< the product travels, or a sum of products
};

/// What a value is rounded to (nearest, ties to even) at one point of the sum.
enum class Rounding : std::uint8_t {
  none,      ///< not at all: the value stays exact, or the point does not occur
  f32,       ///< fp32
  bf16,      ///< bfloat16
  row,       ///< the dtype of the expert rows
  promoted,  ///< fp64 when the weights are fp64, else fp32 (PyTorch's type promotion of rows times weights)
};

/// How the partial rows of a tensor-parallel expert become one row.
enum class TpJoin : std::uint8_t {
  tree_then_row,  ///< fp32 over a fixed binary tree of the TP ranks, then one rounding to the row dtype
  as_ranks,       ///< not joined: TP partials are rows of their own ranks r = ep * TP + tp of the rank sum
};

/// Where the shared expert's output enters.
enum class SharedExpert : std::uint8_t {
  after_rounding,  ///< added in fp32 to the rounded sum, rounded to the row dtype again
  as_term,         ///< one more term, of weight 1
};

/// See the file comment. Weights of another type are rounded to fp32 first unless `product` is promoted or none.
struct CombineRecipe {
  SumOrder order = SumOrder::source_slot;
  MultiplyAt multiply = MultiplyAt::source_rank;
  Rounding product = Rounding::f32;     ///< each weight * row, before it is added; never fused
  Rounding accumulate = Rounding::f32;  ///< after every addition; sums start at +0
  Rounding partial = Rounding::none;    ///< one rank's sum before it travels: the dtype on the wire
  Rounding result = Rounding::row;      ///< the finished sum
  TpJoin tp_join = TpJoin::tree_then_row;
  SharedExpert shared_expert = SharedExpert::after_rounding;

  /// The default: fp32, k ascending at the source rank, weight times row rounded to fp32, one rounding at the end.
  [[nodiscard]] static constexpr CombineRecipe source_slot_order() noexcept { return {}; }
  /// The same sum with logical experts ascending: independent of the router's slot order.
  [[nodiscard]] static constexpr CombineRecipe source_expert_order() noexcept;
  /// Each rank adds its own experts in fp32 and sends one row per token, rounded to `wire` (row, bf16 or f32).
  /// DeepEP's and Megatron's Flex arithmetic; its bits depend on the placement.
  [[nodiscard]] static constexpr CombineRecipe rank_partial(Rounding wire = Rounding::row) noexcept;
  /// Megatron's AllGather: products in the promoted type, summed over the ranks of the TP x EP group without a rounding
  /// of their own (the order NCCL's reduce-scatter leaves open is ranks ascending here).
  [[nodiscard]] static constexpr CombineRecipe megatron_allgather() noexcept;
  /// MegaBlocks: each product is rounded to the row dtype, then k ascending in fp32.
  [[nodiscard]] static constexpr CombineRecipe megablocks() noexcept;
  /// The exact sum of weight times row, rounded once: equal for every dispatcher, placement, rank count and backend.
  [[nodiscard]] static constexpr CombineRecipe exact(SharedExpert shared = SharedExpert::after_rounding) noexcept;

  friend bool operator==(CombineRecipe const&, CombineRecipe const&) = default;
};

constexpr CombineRecipe CombineRecipe::source_expert_order() noexcept {
  CombineRecipe recipe;
  recipe.order = SumOrder::source_expert;
  return recipe;
}

constexpr CombineRecipe CombineRecipe::rank_partial(Rounding wire) noexcept {
  CombineRecipe recipe;
  recipe.order = SumOrder::rank_then_expert;
  recipe.multiply = MultiplyAt::expert_rank;
  recipe.partial = wire;
  return recipe;
}

constexpr CombineRecipe CombineRecipe::megatron_allgather() noexcept {
  CombineRecipe recipe = rank_partial(Rounding::promoted);
  recipe.product = Rounding::promoted;
  recipe.accumulate = Rounding::promoted;
  recipe.tp_join = TpJoin::as_ranks;
  return recipe;
}

constexpr CombineRecipe CombineRecipe::megablocks() noexcept {
  CombineRecipe recipe;
  recipe.product = Rounding::row;
  return recipe;
}

constexpr CombineRecipe CombineRecipe::exact(SharedExpert shared) noexcept {
  CombineRecipe recipe;
  recipe.order = SumOrder::any;
  recipe.product = Rounding::none;
  recipe.accumulate = Rounding::none;
  recipe.shared_expert = shared;
  return recipe;
}

/// @return the recipe's name, e.g. "source_slot_order", or "custom" when it has none; static storage.
[[nodiscard]] std::string_view name_of(CombineRecipe const& recipe) noexcept;
/// @return the names that name_of() can return and parse_recipe() accepts, "custom" excepted.
[[nodiscard]] std::span<std::string_view const> recipe_names() noexcept;

/// @return the name, or for a recipe without one all fields as "order=source_slot,multiply=...". parse_recipe() reads
/// both back, so this is the recipe's form in JSON and on a command line.
[[nodiscard]] std::string to_string(CombineRecipe const& recipe);
/// @return the recipe, or nothing when `text` is neither a name nor a full list of fields in to_string()'s order. The
/// recipe is not validated.
[[nodiscard]] std::optional<CombineRecipe> parse_recipe(std::string_view text);

/// @return one sentence per pair of fields that cannot both hold; empty for a sound recipe. All named ones are sound.
[[nodiscard]] std::vector<std::string> contradictions_in(CombineRecipe const& recipe);
/// @throws Error{invalid_argument} with every contradiction.
void validate(CombineRecipe const& recipe);

/// @return the dtype that `rounding` means for rows of `row` and weights of `weight`; nothing for `none`.
[[nodiscard]] std::optional<DType> dtype_after(Rounding rounding, DType row, DType weight) noexcept;

}  // namespace switchyard
