// SPDX-License-Identifier: Apache-2.0
/// RoutedBatch: tokens with their choices that the demo sends through a placement and back.
#pragma once

#include <cstdint>
#include <vector>

#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/routing/routing_map.hpp"
#include "switchyard/sim/load_spec.hpp"

namespace switchyard::demo {

struct BatchShape {
  int num_ranks = 8;
  std::int64_t tokens_per_rank = 64;
  std::int64_t hidden = 128;
};

/// One layer's tokens and choices, by rank.
struct RoutedLayer {
  int layer = 0;
  std::vector<RoutingMap> routings;
  std::vector<std::vector<float>> tokens;  ///< [tokens_per_rank * hidden] per rank
  std::vector<float> expert_scales;        ///< [experts * hidden]: the demo's expert multiplies column by column
};

struct RoutedBatch {
  BatchShape shape;
  std::vector<RoutedLayer> layers;
};

/// Choices follow the popularity of every layer of `spec`; values are random fp32 numbers of very different size, so
/// that the order of every sum shows in its bits.
[[nodiscard]] RoutedBatch make_batch(sim::LoadSpec const& spec, BatchShape const& shape);

/// The output of one layer, by rank: [tokens_per_rank * hidden].
using Combined = std::vector<std::vector<float>>;

struct BatchResult {
  std::vector<Combined> layers;
  std::int64_t rows = 0;         ///< rows that experts received
  std::int64_t remote_rows = 0;  ///< of them, rows that came from another rank
  double mean_row_par = 0;       ///< busiest rank's rows over the mean, averaged over layers
};

/// Plans, dispatches, applies the experts and combines on emulated ranks, one thread each.
[[nodiscard]] BatchResult run_batch(RoutedBatch const& batch, ExpertPlacement const& placement);

/// The same outputs from three nested loops that know neither placement nor ranks.
/// @param descending adds every token's terms in the opposite order, to show whether the order matters.
[[nodiscard]] std::vector<Combined> combine_in_plain_loops(RoutedBatch const& batch, bool descending);

/// @return how many elements differ in bits.
[[nodiscard]] std::int64_t count_differences(std::vector<Combined> const& a, std::vector<Combined> const& b);

}  // namespace switchyard::demo
