// SPDX-License-Identifier: Apache-2.0
/// compatible(): whether a way of moving tokens and a way of computing experts fit together, and if not, why not.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "switchyard/experts/experts.hpp"
#include "switchyard/experts/weight_and_reduce.hpp"

namespace switchyard {

/// When rows are quantised relative to the exchange.
enum class QuantizeWhen : std::uint8_t { never, before_exchange, after_exchange };
[[nodiscard]] std::string_view to_string(QuantizeWhen when) noexcept;

/// What a prepare/finalize pair delivers and takes back.
struct PrepareTraits {
  std::string name{};
  RowFormat output_format = RowFormat::standard;
  QuantizeWhen quantize = QuantizeWhen::never;
  std::optional<QuantSpec> quant{};  ///< set unless `quantize` is never
  bool reduces = true;               ///< finalize can weight and reduce (needed by experts that delegate)
  bool router_weight_on_input = true;
  DType dtype = DType::bf16;  ///< of rows that are not quantised, and of what finalize takes
};

/// What an experts implementation takes and gives.
struct ExpertsTraits {
  std::string name{};
  std::vector<RowFormat> formats{};
  std::vector<QuantScheme> input_schemes{};  ///< of rows that arrive quantised
  bool plain_rows = true;
  WeightAndReduce weight_and_reduce = WeightAndReduce::delegate;
  std::vector<DType> dtypes{};
};

/// The traits of the exact engine: both formats, every scheme, f32, bf16 and f16; it leaves weighting to finalize.
[[nodiscard]] ExpertsTraits exact_experts_traits();

/// @return the first reason why the two do not fit, naming both sides; nothing when they fit.
[[nodiscard]] std::optional<std::string> incompatibility(PrepareTraits const& prepare, ExpertsTraits const& experts);
/// @return all of them.
[[nodiscard]] std::vector<std::string> incompatibilities(PrepareTraits const& prepare, ExpertsTraits const& experts);

}  // namespace switchyard
