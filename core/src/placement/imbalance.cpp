// SPDX-License-Identifier: Apache-2.0
#include "switchyard/placement/imbalance.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "bounds/even_split.hpp"
#include "switchyard/hd/elementary.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {

namespace {

void require_same_sizes(ExpertLoad const& load, ExpertPlacement const& placement) {
  SWITCHYARD_REQUIRE(load.num_layers() == placement.num_layers() && load.num_experts() == placement.num_experts(),
                     shape_mismatch,
                     "the load has {} layers x {} experts, the placement {} x {}: they must describe the same model",
                     load.num_layers(), load.num_experts(), placement.num_layers(), placement.num_experts());
  SWITCHYARD_REQUIRE(placement.num_ranks() >= 1, invalid_placement, "the placement has no ranks");
}

/// Load of every rank when each replica carries an even share; slots ascending.
std::vector<double> rank_loads(std::span<double const> load, ExpertPlacement const& placement, int layer) {
  ReplicaTable const table(placement, layer);
  std::vector<double> sums(to_size(placement.num_ranks()), 0.0);
  for (RankId rank(0); rank.value() < placement.num_ranks(); ++rank) {
    for (ExpertId const expert : placement.rank_slots(layer, rank)) {
      if (expert.valid()) {
        sums[rank.index()] += load[expert.index()] / static_cast<double>(table.replicas(expert).size());
      }
    }
  }
  for (ExpertId expert(0); expert.value() < placement.num_experts(); ++expert) {
    SWITCHYARD_REQUIRE(load[expert.index()] == 0 || !table.replicas(expert).empty(), invalid_placement,
                       "expert {} of layer {} has load {} but no slot: its tokens would be lost", expert.value(), layer,
                       load[expert.index()]);
  }
  return sums;
}

/// Expected largest of n independent standard normals, within 1e-4: the mean over u in (0, 1) of the quantile of
/// u^(1/n), by the midpoint rule after u = s^2 (3 - 2s), which tames both ends.
double expected_max_of_normals(int n) {
  constexpr int kPoints = 1024;
  double sum = 0;
  for (int i = 0; i < kPoints; ++i) {
    double const s = (i + 0.5) / kPoints;
    double const u = s * s * (3 - 2 * s);
    double const weight = 6 * s * (1 - s);
    sum += weight * hd::normal_quantile(hd::exp(hd::log(u) / n));
  }
  return sum / kPoints;
}

double noise_floor(double expected_max, int num_ranks, double mean_tokens) {
  if (num_ranks <= 1 || mean_tokens <= 0) {
    return 1;
  }
  return 1 + expected_max * std::sqrt((1 - 1.0 / num_ranks) / mean_tokens);
}

LayerImbalance measure_layer(std::span<double const> load, ExpertPlacement const& map, int layer) {
  auto const sums = rank_loads(load, map, layer);
  LayerImbalance figures;
  figures.max_rank_load = *std::max_element(sums.begin(), sums.end());
  figures.mean_rank_load = std::accumulate(load.begin(), load.end(), 0.0) / map.num_ranks();
  if (figures.mean_rank_load > 0) {
    figures.par = std::max(1.0, figures.max_rank_load / figures.mean_rank_load);
    figures.excess = figures.par - 1;
    double const largest_replica = placement::min_max_replica_load(load, {map.num_slots(), map.num_slots(), 0});
    figures.lower_bound_par = std::max(1.0, largest_replica / figures.mean_rank_load);
  }
  return figures;
}

void summarise(ImbalanceReport& report) {
  double sum_of_pars = 0;
  double sum_of_means = 0;
  double sum_of_maxima = 0;
  report.max_par = report.layers.front().par;
  report.min_par = report.layers.front().par;
  for (auto const& layer : report.layers) {
    sum_of_pars += layer.par;
    sum_of_means += layer.mean_rank_load;
    sum_of_maxima += layer.max_rank_load;
    report.max_par = std::max(report.max_par, layer.par);
    report.min_par = std::min(report.min_par, layer.par);
  }
  report.mean_par = sum_of_pars / static_cast<double>(report.layers.size());
  report.vllm_balancedness = sum_of_maxima > 0 ? sum_of_means / sum_of_maxima : 1;
}

}  // namespace

ImbalanceReport measure_imbalance(ExpertLoad const& load, ExpertPlacement const& placement) {
  require_same_sizes(load, placement);
  ExpertLoad const sums = load.summed();
  double const expected_max = placement.num_ranks() > 1 ? expected_max_of_normals(placement.num_ranks()) : 0;
  ImbalanceReport report;
  for (int layer = 0; layer < sums.num_layers(); ++layer) {
    auto figures = measure_layer(sums.at(0, layer), placement, layer);
    figures.noise_floor_par = noise_floor(expected_max, placement.num_ranks(), figures.mean_rank_load);
    report.layers.push_back(figures);
  }
  if (!report.layers.empty()) {
    summarise(report);
  }
  return report;
}

double sampling_noise_floor(int num_ranks, double mean_tokens) {
  SWITCHYARD_REQUIRE(num_ranks >= 1 && mean_tokens >= 0, invalid_argument,
                     "{} ranks and {} tokens per rank: at least one rank and no negative number of tokens is needed",
                     num_ranks, mean_tokens);
  return noise_floor(num_ranks > 1 ? expected_max_of_normals(num_ranks) : 0, num_ranks, mean_tokens);
}

}  // namespace switchyard
