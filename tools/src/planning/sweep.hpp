// SPDX-License-Identifier: Apache-2.0
/// Sweep: one table over numbers of GPUs and slots: balance, memory per GPU, bytes to get there.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "planning/plan_inputs.hpp"

namespace switchyard::cli {

struct SweepGrid {
  std::vector<std::int64_t> gpus;
  std::vector<std::int64_t> slots;
};

/// "slots=256..320/16,gpus=32,64": values and ranges per name. A range of slots without a step takes every number that
/// the GPUs divide. @throws UsageError for other names or a value that is no number.
[[nodiscard]] SweepGrid parse_sweep(std::string const& text);

/// One cell; a refused cell keeps the policy's reason.
struct SweepRow {
  int gpus = 0;
  int slots = 0;
  double mean_par = 0;
  double max_par = 0;
  double bound_par = 0;            ///< mean over layers
  std::int64_t bytes_per_gpu = 0;  ///< expert weights of the GPU with most slots, all layers
  std::int64_t moved_bytes = 0;    ///< over the network, from the current placement or slot i = expert i mod E
  std::string refused{};
};

/// @param base the request that every cell starts from; sizes are replaced.
[[nodiscard]] std::vector<SweepRow> run_sweep(PlacementPolicy const& policy, ExpertLoad const& load,
                                              PolicyRequest const& base, SweepGrid const& grid,
                                              std::int64_t expert_bytes);
[[nodiscard]] std::string sweep_table(std::vector<SweepRow> const& rows);
[[nodiscard]] std::string sweep_json(std::vector<SweepRow> const& rows, std::string_view policy);

}  // namespace switchyard::cli
