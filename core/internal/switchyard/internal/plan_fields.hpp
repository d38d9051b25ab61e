// SPDX-License-Identifier: Apache-2.0
/// The field numbers of a DispatchPlan's fingerprint (docs/formats/dispatch-plan.md), for whoever computes it.
#pragma once

#include <cstdint>

namespace switchyard::internal {

inline constexpr std::uint32_t kFieldSetup = 1;
inline constexpr std::uint32_t kFieldRank = 2;
inline constexpr std::uint32_t kFieldCapacity = 3;
inline constexpr std::uint32_t kFieldRowsPerSlot = 4;
inline constexpr std::uint32_t kFieldTokensPerLocalExpert = 5;
inline constexpr std::uint32_t kFieldMegaBlocks = 6;
/// Stage i uses kFieldStages + kFieldsPerStage * i for its kind and the fields behind it for its lists; stage i of the
/// row return starts at kFieldRowReturn.
inline constexpr std::uint32_t kFieldStages = 64;
inline constexpr std::uint32_t kFieldRowReturn = 1024;
inline constexpr std::uint32_t kFieldsPerStage = 16;

/// The kinds of stages.
inline constexpr std::int64_t kKindRowGather = 1;
inline constexpr std::int64_t kKindRowExchange = 2;
inline constexpr std::int64_t kKindTpGather = 3;
inline constexpr std::int64_t kKindChunkSort = 4;
inline constexpr std::int64_t kKindWorldGather = 5;
inline constexpr std::int64_t kKindShardRepeat = 6;

}  // namespace switchyard::internal
