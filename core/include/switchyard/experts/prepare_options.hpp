// SPDX-License-Identifier: Apache-2.0
/// PrepareKind and PrepareOptions: the ways in which a backend moves rows between tokens and experts, as data.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

#include "switchyard/dispatch/combine_recipe.hpp"
#include "switchyard/dispatch/expert_parallel_grid.hpp"
#include "switchyard/experts/prepare_finalize.hpp"

namespace switchyard {

/// The rows of every way are those of an existing planner, carried by a backend's executor.
enum class PrepareKind : std::uint8_t {
  no_communication,          ///< groups this rank's tokens by its own experts (vLLM's no_dp_ep); others' give nothing
  no_communication_batched,  ///< the same in the batched format (vLLM's BatchedPrepareAndFinalize)
  allgather,                 ///< all tokens to all ranks, results home again (allgather_reducescatter)
  alltoall,                  ///< one row per (token, expert) over EP, gathered over TP
  flex,                      ///< one row per (token, rank), expanded there (deepep_high_throughput)
  low_latency,               ///< AlltoAll into fixed batches (deepep_low_latency): needs max_tokens_per_rank
};
inline constexpr std::array kAllPrepareKinds = {PrepareKind::no_communication,
                                                PrepareKind::no_communication_batched,
                                                PrepareKind::allgather,
                                                PrepareKind::alltoall,
                                                PrepareKind::flex,
                                                PrepareKind::low_latency};
[[nodiscard]] std::string_view to_string(PrepareKind kind) noexcept;
[[nodiscard]] std::optional<PrepareKind> parse_prepare_kind(std::string_view name) noexcept;

/// The same on every rank of a group.
struct PrepareOptions {
  ExpertParallelGrid grid{};
  std::int64_t hidden = 0;
  DType dtype = DType::bf16;
  int layer = 0;  ///< of the placement
  QuantizeWhen quantize = QuantizeWhen::never;
  std::optional<QuantSpec> quant{};
  /// Batched formats have max_tokens_per_rank x dispatchers rows per expert; the others only refuse ranks with more.
  std::optional<std::int64_t> max_tokens_per_rank{};
  /// How finalize sums. no_communication knows source_slot_order only.
  CombineRecipe recipe = CombineRecipe::source_slot_order();
  /// How prepare's backward sums a token's row gradients (with weight 1). no_communication as above.
  CombineRecipe gradient_recipe = CombineRecipe::source_slot_order();
};

/// What a pair of this kind delivers; the traits need no ranks.
[[nodiscard]] PrepareTraits prepare_traits(PrepareKind kind, PrepareOptions const& options);

}  // namespace switchyard
