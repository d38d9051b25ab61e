// SPDX-License-Identifier: Apache-2.0
/// The load formats: one parser each, and the rules they share.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/io/load_reader.hpp"

namespace switchyard::io {

/// A text to read loads from.
struct LoadText {
  std::string_view content;
  std::string const& name;
  int num_experts;  ///< that the caller expects; 0 = whatever the text holds
};

/// Above it doubles skip integers, and sums of steps could stop being finite.
inline constexpr double kMaxLoad = 9007199254740992.0;
/// Limits that no recording comes near; they bound what a short hostile file can make us allocate.
inline constexpr std::int64_t kMaxExperts = std::int64_t{1} << 16;
inline constexpr std::int64_t kMaxLoadCells = std::int64_t{1} << 27;

inline constexpr std::string_view kLoadRule = "a load must be a finite number in [0, 2^53]";

/// @return whether `load` keeps kLoadRule (false for a NaN).
[[nodiscard]] bool is_load(double load) noexcept;

/// @throws Error{parse} unless the sizes are at least 1, fit an int, their product is within kMaxLoadCells and the
/// expert count is the one asked for.
void require_load_sizes(LoadText const& text, std::int64_t steps, std::int64_t layers, std::int64_t experts);

/// Ids that need not start at 0 but must not leave a gap, such as the MoE layers of a model whose first layers are
/// dense.
struct IdRange {
  std::int64_t first = 0;
  std::int64_t count = 0;
};
/// @param ids ascending, without repetition, not empty. @throws Error{parse} naming the first missing ids.
[[nodiscard]] IdRange contiguous_range(LoadText const& text, std::string_view what,
                                       std::vector<std::int64_t> const& ids);

[[nodiscard]] LoadReadResult parse_json_load(LoadText const& text);
[[nodiscard]] LoadReadResult parse_npy_load(LoadText const& text);
[[nodiscard]] LoadReadResult parse_csv_load(LoadText const& text);
[[nodiscard]] LoadReadResult parse_jsonl_load(LoadText const& text);
[[nodiscard]] LoadReadResult parse_sglang_pt_load(LoadText const& text);
[[nodiscard]] LoadReadResult parse_vllm_load(LoadText const& text);
[[nodiscard]] LoadReadResult parse_trtllm_load(LoadText const& text);
[[nodiscard]] LoadReadResult parse_megatron_load(LoadText const& text);

/// Appends a load that keeps kLoadRule: an integer as one, else the shortest digits that read back equal.
void append_load(std::string& out, double load);
/// Appends "[a,b,...]".
void append_loads(std::string& out, std::span<double const> loads);

/// Tells the format from the first bytes; json stands for both JSON forms.
[[nodiscard]] LoadFormat detect_load_format(std::string_view content);

}  // namespace switchyard::io
