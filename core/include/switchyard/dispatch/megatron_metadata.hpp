// SPDX-License-Identifier: Apache-2.0
/// A DispatchPlan in the words of Megatron's AlltoAll dispatcher, for comparison with it. Derived, never stored.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "switchyard/dispatch/dispatch_plan.hpp"

namespace switchyard {

/// Where the host has to wait for counts that live on the device, earliest first.
enum class SyncPoint : std::uint8_t {
  before_permutation_1,
  before_ep_alltoall,
  before_permutation_2,
  before_finish,
  no_sync
};
[[nodiscard]] std::string_view to_string(SyncPoint point) noexcept;

/// Whose rule places the sync point.
enum class SyncRule : std::uint8_t {
  megatron_seed,    ///< spring 2025; picks before_finish for TP > 1, EP = 1, one local expert, which is too late
  megatron_newest,  ///< TP > 1 alone also needs the splits before the exchange; several local experts need the chunk
                    ///< sizes before the sort
  mindspeed,        ///< the seed's points and integers; tokens_per_local_expert stays on the device
};
/// @return the point at which a plan of this family makes the host wait. Megatron's AllGather reads its counts before
/// its only permutation, Flex waits for the counts of the exchange before it expands (before_permutation_2), whatever
/// the rule; MegaBlocks needs its splits before the exchange, in a world of one rank only the size of bins that depend
/// on counts (no capacity, or whole blocks). Pure.
[[nodiscard]] SyncPoint sync_point(DispatchPlan const& plan, SyncRule rule);

/// What the host has to know about a plan's counts, and when.
struct SyncFacts {
  SyncPoint point = SyncPoint::no_sync;
  bool tokens_per_local_expert_on_host = true;  ///< false: grouped matrix products read it on the device
  friend bool operator==(SyncFacts const&, SyncFacts const&) = default;
};
[[nodiscard]] SyncFacts sync_facts(DispatchPlan const& plan, SyncRule rule);

/// Megatron's fields under their names; empty optionals where Megatron leaves a field unset (None).
struct MegatronMetadata {
  std::optional<std::vector<std::int64_t>> input_splits;      ///< [EP] rows to every EP rank
  std::optional<std::vector<std::int64_t>> output_splits;     ///< [EP] rows from every EP rank of this tp lane
  std::optional<std::vector<std::int64_t>> output_splits_tp;  ///< [TP] rows every TP rank holds after its exchange
  std::int64_t num_out_tokens = 0;
  std::vector<std::int64_t> tokens_per_local_expert;                            ///< [L]
  std::vector<std::int64_t> permutation;                                        ///< token of every row sent
  std::vector<std::int64_t> sort_input_by_local_experts;                        ///< [TP * EP * L]
  std::vector<std::int64_t> restore_output_by_local_experts;                    ///< [TP * EP * L]
  std::optional<std::vector<std::int64_t>> num_global_tokens_per_local_expert;  ///< [TP * EP * L], flat
  SyncPoint cuda_sync_point = SyncPoint::no_sync;                               ///< by SyncRule::megatron_seed
};

/// With rank_major rows the chunk tables are those of that order, which Megatron's AlltoAll itself never has.
/// @throws Error{unsupported} for a plan that Megatron cannot have: another family, or padding to capacities that
///         differ between ranks (its exchange would use equal splits).
[[nodiscard]] MegatronMetadata megatron_metadata(DispatchPlan const& plan);

}  // namespace switchyard
