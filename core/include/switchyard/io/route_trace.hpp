// SPDX-License-Identifier: Apache-2.0
/// Routing recordings as a value, to turn one engine's format into another's (docs/formats/loads.md).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::io {

enum class RouteFormat {
  routing_jsonl,   ///< one record per token of one layer
  megatron_trace,  ///< Megatron-Core's router trace, one record per step and layer
};
[[nodiscard]] std::string_view to_string(RouteFormat format) noexcept;
[[nodiscard]] std::vector<std::string> route_format_names();

/// The choices of some tokens in one layer.
struct RouteBlock {
  std::int64_t step = 0;
  std::int64_t layer = 0;
  int top_k = 0;
  std::vector<std::int32_t> ids{};  ///< [tokens][top_k], -1 = no expert in this slot
  std::vector<double> weights{};    ///< as many, or empty when the recording has none
};

struct RouteTrace {
  std::vector<RouteBlock> blocks;  ///< megatron_trace: file order; routing_jsonl: one per layer, ascending
  RouteFormat format = RouteFormat::routing_jsonl;
  std::int64_t num_experts = 0;        ///< that the file states or the caller asked for; 0 = neither
  std::int64_t dropped_profiling = 0;  ///< as in LoadReadResult
  std::int64_t dropped_other = 0;
};

/// Tells the format by content. @param num_experts ids must be below it; 0 = whatever the file holds.
/// @throws Error{parse} naming file, place, path and value for anything malformed, or a file without a token.
[[nodiscard]] RouteTrace parse_route_trace(std::string_view content, std::string const& source_name, int num_experts);

/// Megatron's traces have no weights: they are left out. Routing records have no steps: blocks follow each other.
/// @return the text; same trace, same bytes.
[[nodiscard]] std::string write_route_trace(RouteTrace const& trace, RouteFormat format);

}  // namespace switchyard::io
