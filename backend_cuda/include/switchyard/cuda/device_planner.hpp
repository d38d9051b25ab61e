// SPDX-License-Identifier: Apache-2.0
/// DevicePlanner: the integers of a DispatchPlan, computed by kernels from routing ids on the device.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/cuda/stream.hpp"
#include "switchyard/dispatch/capacity.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/dispatch/megablocks_planner.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/routing/routing_map.hpp"

namespace switchyard::cuda {

/// Which kernels plan. Both give the same integers.
enum class PlanKernels {
  automatic,  ///< one block alone where a Flex batch without TP is small: up to 1,024 tokens and 4,096 choices of all
              ///< ranks, 1,024 slots, 32 ranks
  chain,      ///< always the kernels for any size
};

/// What all ranks must pass equally.
struct DevicePlannerConfig {
  DispatchFamily family = DispatchFamily::megatron_flex;
  ExpertParallelGrid grid{};
  RowOrder row_order = RowOrder::rank_major;
  ChunkRestore restore = ChunkRestore::inverse;  ///< megatron_alltoall only
  ReplicaRule replica_rule = ReplicaRule::token_rank_layer;
  FlexSelection selection = FlexSelection::routing_map;  ///< megatron_flex only
  RoutingForm form = RoutingForm::topk;                  ///< of the routing given to assign()
  int columns = 0;                                       ///< top-k, or for a dense routing the number of experts
  std::int64_t max_tokens = 0;                           ///< of any rank in one step
  std::optional<CapacityPolicy> capacity{};              ///< rules megatron and exact
  int capacity_top_k = 0;                                ///< the K of the capacity; 0: columns
  std::int64_t announcement_multiple = 0;                ///< announcements are filled up to a multiple of so many bytes
  std::int64_t max_expert_rows = 0;                      ///< the budget of a rank's experts; 0: as many as can come
  PlanKernels kernels = PlanKernels::automatic;
  /// Family megablocks only: bins and what a capacity is. Its world is the grid's (TP 1), which the placement's ranks,
  /// the expert blocks, divide; its replica rule is the one above. Hidden shards with a factor must hold equally many
  /// tokens: core's planner compares them, this one does not. Without a budget, bins have room for the capacity of
  /// max_tokens or for all rows that can come; without a factor either, each bin has: give a budget then.
  MegaBlocksConfig megablocks{};
};

/// One rank's routing on the device, logical experts. Exactly one of `ids` and `map` is given, as config.form says.
struct DeviceRouting {
  std::int32_t const* ids = nullptr;  ///< [tokens, columns], -1 = dropped
  std::uint8_t const* map = nullptr;  ///< [tokens, columns] 0 or 1
  float const* weights = nullptr;     ///< [tokens, columns]; needed for a capacity and for nonzero_weights
  std::int64_t tokens = 0;
};

/// A RowGather on the device. Lengths are only known there: DevicePlanLists::numbers.
struct DeviceGather {
  std::int64_t const* token_of_row = nullptr;
  std::int64_t const* slot_of_row = nullptr;
  std::int64_t const* row_begin = nullptr;
  std::int64_t const* rows_of_token = nullptr;
};

/// Counts that only the device knows, in the order in which they lie there.
struct DevicePlanNumbers {
  std::int64_t rank;
  std::int64_t first_slot;
  std::int64_t tokens;
  std::int64_t columns;
  std::int64_t rows;           ///< (token, slot) rows of this rank
  std::int64_t sent_rows;      ///< Flex: (rank, token) rows of this rank
  std::int64_t received_rows;  ///< AllGather: tokens of all ranks; Flex: (rank, token) rows that arrive
  std::int64_t expert_rows;    ///< MegaBlocks: of the bins, empty rows included
  std::int64_t sorted_rows;    ///< MegaBlocks: rows that arrive
  std::int64_t binned_rows;    ///< MegaBlocks: those that find room
};

/// A plan's lists in device memory, valid as long as the planner, rewritten by every plan(). Null where the family has
/// none.
struct DevicePlanLists {
  DevicePlanNumbers const* numbers = nullptr;
  DeviceGather rows;       ///< first stage of AlltoAll and of the row returns
  DeviceGather sent;       ///< Flex: first stage
  DeviceGather expansion;  ///< AllGather, Flex: last stage
  DeviceGather sort;       ///< MegaBlocks: arrived rows by local expert, where there are several
  DeviceGather bins;       ///< MegaBlocks but for exact bins: sorted rows, or a single rank's tokens, in bins
  std::int64_t const* rows_per_slot = nullptr;
  std::int64_t const* tokens_per_local_expert = nullptr;
  std::int64_t const* lane_send = nullptr;       ///< [world] exchange of single rows
  std::int64_t const* lane_receive = nullptr;    ///< [world]
  std::int64_t const* tp_receive = nullptr;      ///< [world]
  std::int64_t const* chunk_sizes = nullptr;     ///< [world * local experts]
  std::int64_t const* rank_send = nullptr;       ///< [world] Flex
  std::int64_t const* rank_receive = nullptr;    ///< [world] Flex
  std::int64_t const* tokens_of_rank = nullptr;  ///< [world]
};

/// Plans one layer of one rank. A step is assign(), an exchange of announcements, plan(): kernels only, no host
/// synchronisation, no allocation, capturable in global mode (exchange() is not: captured programs move the blocks
/// themselves, e.g. by ncclAllGather, which needs no host either). Every integer equals core's plan of the same
/// routing.
///
/// A choice at fault (an expert outside the model or without a slot, a NaN weight, an expert named twice under a
/// capacity) counts as dropped and sets a sticky error word; from the next step on the rank announces nothing, so that
/// its peers' error words name it. A plan with more expert rows than the budget sets the word to the size required;
/// lists stay inside their memory.
/// One object belongs to one thread and uses one stream at a time. Memory: about 40 bytes per choice that can arrive.
class DevicePlanner {
 public:
  /// Allocates everything; on the current device. @throws Error{unsupported} for a family, capacity rule or size that
  /// is not planned on a device (MegaBlocks with TP; 2^31 rows; more slots than shared memory counts),
  /// otherwise what core's planner throws for the configuration, and Error{out_of_memory}, Error{cuda}.
  DevicePlanner(DevicePlannerConfig const& config, RankId rank, ExpertPlacement const& placement, int layer);
  ~DevicePlanner();
  DevicePlanner(DevicePlanner&&) noexcept;
  DevicePlanner& operator=(DevicePlanner&&) noexcept;

  /// Writes this rank's announcement. Pointers are read when the kernels run; the number of tokens is fixed in a
  /// captured graph (drop what is too many with -1). @throws Error{shape_mismatch, invalid_argument, cuda}
  void assign(DeviceRouting const& routing, StreamView stream);

  /// Digest of what ranks must share; announcements carry it.
  [[nodiscard]] std::uint64_t configuration() const noexcept;
  /// Bytes of a rank's announcement: its slot table, or its counts (AlltoAll). Equal on all ranks.
  [[nodiscard]] std::int64_t announcement_bytes() const noexcept;
  /// This rank's announcement, [announcement_bytes()], device. It is its place in announcements().
  [[nodiscard]] void* announcement() const noexcept;
  /// Announcements of all ranks, rank ascending; the caller fills in those of others between assign() and plan().
  [[nodiscard]] void* announcements() const noexcept;
  /// Does that over `comm`. Collective. @throws as DeviceCommunicator::exchange_on()
  void exchange(DeviceCommunicator& comm, StreamView stream);

  /// Writes the lists. @throws Error{cuda}
  void plan(StreamView stream);
  /// Rows that the experts' tensors must have room for: the budget, or as many as can come.
  [[nodiscard]] std::int64_t max_expert_rows() const noexcept;
  /// The sticky word: 0, or what check() raises. Device memory.
  [[nodiscard]] unsigned long long const* error() const noexcept;
  [[nodiscard]] DevicePlanLists const& lists() const noexcept;
  /// With a capacity: [tokens, experts] which choices were kept, and their weights, dense; else null.
  [[nodiscard]] std::uint8_t const* kept_map() const noexcept;
  [[nodiscard]] float const* kept_weights() const noexcept;

  /// Writes DispatchPlan::fingerprint() of the last plan to `result`, device memory. @throws Error{cuda}
  void fingerprint(std::uint64_t* result, StreamView stream) const;

  /// Waits for the stream. @return the last plan as core has it. @throws as check()
  [[nodiscard]] DispatchPlan download(StreamView stream) const;
  /// Waits for the stream and raises what kernels found since the object was made.
  /// @throws Error{invalid_argument, invalid_placement} for routing at fault, Error{desync} naming a peer that
  /// announced nothing, Error{shape_mismatch} for more rows than the budget, with the size required; Error{cuda}
  void check(StreamView stream) const;
  /// Clears the sticky word, for the steps issued from now on. All ranks do so between the same steps. @throws
  /// Error{cuda}
  void forget_error(StreamView stream);

  struct State;
  /// For kernels of this library that plan by themselves.
  [[nodiscard]] State const& state() const noexcept { return *state_; }

 private:
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
