// SPDX-License-Identifier: Apache-2.0
/// RoutingRace: which experts the tokens of one rank choose, token by token.
#pragma once

#include <cstdint>
#include <vector>

#include "generators/draw.hpp"
#include "switchyard/sim/routing_generator.hpp"

namespace switchyard::sim {

/// One token's race: finish times of all experts, kept from the token before where the draw sticks.
class RoutingRace {
 public:
  /// @param spec must outlive the race. @param tilts [domains * experts] factors of popularity, empty for one domain.
  RoutingRace(RoutingSpec const& spec, std::vector<double> const& tilts, int rank);

  /// Tokens ascending from 0.
  void run(std::int64_t token);
  /// Appends the winners and their weights.
  void take(std::vector<std::int32_t>& ids, std::vector<float>& weights) const;

 private:
  void draw_waits(std::int64_t token);
  void fill_scores(std::int64_t token);
  void keep_best_groups();
  [[nodiscard]] double group_score(std::size_t group, std::size_t size) const;

  RoutingSpec const& spec_;
  std::vector<double> const& tilts_;
  CounterRng rng_, domain_rng_;
  std::vector<double> waits_, scores_, group_scores_;
  std::vector<std::size_t> order_, groups_;
};

/// @return [domains * experts] factors of popularity, empty where the spec has no domains that differ.
[[nodiscard]] std::vector<double> domain_tilts(RoutingSpec const& spec);

}  // namespace switchyard::sim
