// SPDX-License-Identifier: Apache-2.0
/// What the runners of dispatch vectors share: the comparison, the payload, the experts and one rank's whole life.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/internal/json_value.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/routing/routing_map.hpp"
#include "vectors/dispatch_backend.hpp"

namespace switchyard::tools {

inline constexpr std::int64_t kMaxInt = std::int64_t{1} << 40;
inline constexpr int kMaxRanks = 4096;
inline constexpr std::int64_t kHidden = 3;  ///< payload row: rank + 1, token + 1, 1

/// The first mismatch of a case; later ones are ignored.
class Comparison {
 public:
  void expect(int rank, std::string_view field, std::int64_t index, std::int64_t expected, std::int64_t got);
  /// @param expected a list, or a list of lists, which is taken flat.
  void expect_list(int rank, std::string_view field, io::JsonValue const& expected,
                   std::vector<std::int64_t> const& got);
  /// A null is expected where `got` is empty.
  void expect_list(int rank, std::string_view field, io::JsonValue const& expected,
                   std::optional<std::vector<std::int64_t>> const& got);
  void note(int rank, std::string const& text);
  [[nodiscard]] std::string const& mismatch() const { return mismatch_; }

 private:
  std::string mismatch_;
};

/// The routing of one rank of a case. @param ids, weights names of its [T][K] lists
[[nodiscard]] RoutingMap read_routing(io::JsonValue const& rank, std::string_view ids, std::string_view weights,
                                      int num_experts, int top_k);

/// The tp and ep of a Megatron case; it must have one entry of `ranks` for each rank.
[[nodiscard]] ExpertParallelGrid read_grid(io::JsonValue const& golden);
/// All ranks' routings of a Megatron case without a capacity. @throws Error{parse} for one with.
[[nodiscard]] std::vector<RoutingMap> read_dropless(io::JsonValue const& golden);

/// What one rank ends with.
struct RankResult {
  DispatchPlan plan;
  std::vector<float> dispatched;
  std::vector<float> combined;
};

/// Makes one rank's plan over the communicator.
using Planner = std::function<DispatchPlan(Communicator&)>;

/// Every rank plans, executes a plan that went through JSON, and reaches the others through its communicator only.
/// Expert e multiplies its rows by e + 1; the combine is source_slot_order.
[[nodiscard]] std::vector<RankResult> run_dispatch(DispatchBackend const& backend, std::span<RoutingMap const> routings,
                                                   ExpertPlacement const& placement, Planner const& planner);

/// Notes every broken rule between the plans of all ranks.
void compare_group(Comparison& comparison, std::vector<RankResult> const& results);
/// @param golden [rows] of [source rank, source token].
void compare_dispatched(Comparison& comparison, int rank, io::JsonValue const& golden, std::vector<float> const& rows);
/// @param golden [T][3], equal to the last bit.
void compare_combined(Comparison& comparison, int rank, io::JsonValue const& golden,
                      std::vector<float> const& combined);
/// The fields every Megatron family has: tokens_per_local_expert, dispatched, combined.
void compare_expert_side(Comparison& comparison, int rank, io::JsonValue const& golden, RankResult const& result);

}  // namespace switchyard::tools
