// SPDX-License-Identifier: Apache-2.0
/// plan_memory(): how many bytes of buffers an expert-parallel MoE layer needs on a rank, before anything is allocated.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "switchyard/dispatch/expert_parallel_grid.hpp"
#include "switchyard/experts/deepep_buffer.hpp"
#include "switchyard/experts/experts.hpp"
#include "switchyard/experts/memory_model.hpp"
#include "switchyard/experts/quantization.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard {

/// Rows or bytes of the busiest rank.
struct MemoryAmount {
  std::int64_t expected = 0;            ///< tokens choose distinct slots uniformly; to the nearest row
  std::int64_t worst = 0;               ///< whatever tokens choose, as long as they name no expert twice
  std::optional<std::int64_t> exact{};  ///< of the routing that was given
  friend bool operator==(MemoryAmount const&, MemoryAmount const&) = default;
};

struct MemoryBuffer {
  std::string name{};
  MemoryAmount bytes{};
  std::string formula{};  ///< in words, with the bytes of one row
};

/// The rows that a routing gives the busiest rank, each the largest over ranks by itself.
struct RoutedRows {
  std::int64_t sent = 0;             ///< choices of a rank's own tokens
  std::int64_t received = 0;         ///< choices for a rank's experts from the ranks of its TP lane
  std::int64_t expert_rows = 0;      ///< choices for a rank's experts from all ranks
  std::int64_t sent_tokens = 0;      ///< (token, rank) pairs, TP ranks counted each: one row per destination
  std::int64_t received_tokens = 0;  ///< tokens of all ranks that name at least one of a rank's experts
  std::int64_t rows_of_expert = 0;   ///< of the busiest expert
  friend bool operator==(RoutedRows const&, RoutedRows const&) = default;
};
/// @param routing tokens of all ranks, rank ascending, equally many each; experts lie on EP ranks in contiguous blocks,
/// the first ranks hold one more when they do not divide.
/// @throws Error{invalid_argument} for a grid below 1 x 1, Error{shape_mismatch} when tokens do not divide by ranks
/// @note pure; O(choices + experts)
[[nodiscard]] RoutedRows count_routed_rows(RoutingMap const& routing, ExpertParallelGrid const& grid);

enum class RebalanceStaging : std::uint8_t {
  none,      ///< placements never change
  buffered,  ///< vLLM's transfer buffer: one layer of all of a rank's slots
  in_place,  ///< MemoryRequest::spare_rows slots of one layer
};

struct MemoryRequest {
  MoeShape shape{};
  ExpertParallelGrid grid{};         ///< tp of 1, 2, 4 or 8
  std::int64_t tokens_per_rank = 0;  ///< most tokens of a rank in one step
  int slots = 0;                     ///< physical experts of the group, replicas included; 0 = as many as experts
  DType dtype = DType::bf16;         ///< of rows
  std::optional<QuantSpec> quant{};  ///< of rows before the exchange; scales travel with them
  WeightFormat weights{};
  RebalanceStaging staging = RebalanceStaging::buffered;
  int spare_rows = 1;
  Experts const* engine = nullptr;     ///< whose workspace is counted; null = none
  std::optional<RoutedRows> routed{};  ///< fills MemoryAmount::exact
};

/// The buffers of one way to move rows, in the order of a token's life; none is reused for another.
struct FamilyMemory {
  std::string name{};
  std::vector<MemoryBuffer> buffers{};
  MemoryAmount total{};  ///< these, the weights, the workspace and the staging that was asked for
};

struct MemoryPlan {
  int slots_per_rank = 0;           ///< of the ranks that hold most
  std::int64_t expert_bytes = 0;    ///< one slot of one layer, this TP rank's shard
  std::int64_t row_bytes = 0;       ///< unquantised
  std::int64_t wire_row_bytes = 0;  ///< as sent, scales included
  std::vector<MemoryBuffer> weights{};
  std::vector<MemoryBuffer> workspace{};        ///< of the engine that was given
  std::vector<MemoryBuffer> staging{};          ///< both ways; totals count the one that was asked for
  std::vector<MemoryBuffer> peer_workspaces{};  ///< what vLLM's Triton kernels would take; in no total
  /// allgather, alltoall, flex, megablocks (tp = 1 only) and low_latency, in this order.
  std::vector<FamilyMemory> families{};
  std::optional<DeepEpLowLatencyBuffer> deepep{};  ///< for hidden sizes that are multiples of 128
};

/// One layer's buffers at a time, weights of all layers; forward only. Not counted: attention, embeddings, the
/// router, allocators' slack, NCCL's own buffers.
/// @throws Error{invalid_argument} naming the field that cannot be, Error{unsupported} for a TP size or dtype that
/// ExpertMlp refuses; also when a size does not fit 64 bits
/// @note pure. Source: reference of each formula in docs/memory.md
[[nodiscard]] MemoryPlan plan_memory(MemoryRequest const& request);

}  // namespace switchyard
