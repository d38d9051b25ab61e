// SPDX-License-Identifier: Apache-2.0
/// Names and limits of the plan and placement files, shared by their writer and their reader (docs/formats/plan.md).
#pragma once

#include <cstdint>
#include <string_view>

namespace switchyard::io {

inline constexpr std::string_view kPlanKind = "rebalance_plan";
inline constexpr std::string_view kPlacementKind = "expert_placement";
inline constexpr int kPlacementSchemaVersion = 1;
/// Far above any model; keeps what later work allocates per expert in proportion to a hostile file.
inline constexpr std::int64_t kMaxExpertsInFile = std::int64_t{1} << 20;

}  // namespace switchyard::io
