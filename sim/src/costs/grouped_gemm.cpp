// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/grouped_gemm.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "costs/csv_table.hpp"
#include "costs/curve_readers.hpp"
#include "costs/gemm_waves.hpp"
#include "costs/upper_median.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

constexpr double kUsPerMs = 1000;
constexpr double kMemoryBoundRows = 8;
constexpr std::int64_t kManyTokens = 1024;  // below, a launch's spread hides what tokens cost

GemmKey key_of(CsvTable const& table, std::size_t row) {
  GemmKey key;
  key.dtype = table.text(row, "moe_dtype");
  key.hidden = table.integer(row, "hidden_size");
  key.intermediate = table.integer(row, "inter_size");
  key.topk = static_cast<int>(table.integer(row, "topk"));
  key.experts = static_cast<int>(table.integer(row, "num_experts"));
  key.tp = static_cast<int>(table.integer(row, "moe_tp_size"));
  return key;
}

GemmSample sample_of(CsvTable const& table, std::size_t row, GemmKey const& key) {
  GemmSample sample;
  sample.ep = static_cast<int>(std::max(std::int64_t{1}, table.integer(row, "moe_ep_size")));
  sample.active = key.experts / sample.ep;
  sample.tokens = table.integer(row, "num_tokens");
  sample.rows = static_cast<double>(sample.tokens) * key.topk / std::max(1, key.experts);
  sample.us = table.number(row, "latency") * kUsPerMs;
  return sample;
}

MeasuredGemm& gemm_of(std::vector<MeasuredGemm>& gemms, GemmKey const& key, CostProvenance const& provenance) {
  auto const found = std::find_if(gemms.begin(), gemms.end(), [&](MeasuredGemm const& one) {
    return one.key == key && one.provenance == provenance;
  });
  if (found != gemms.end()) return *found;
  gemms.push_back({key, provenance, {}});
  return gemms.back();
}

/// Where the line through two samples of equal rows and neighbouring EP sizes meets no experts.
struct Intercept {
  double rows = 0;
  std::int64_t tokens = 0;
  double us = 0;
};

std::vector<Intercept> intercepts_of(std::vector<GemmSample> samples) {
  std::stable_sort(samples.begin(), samples.end(), [](GemmSample const& a, GemmSample const& b) {
    return a.rows != b.rows ? a.rows < b.rows : a.active < b.active;
  });
  std::vector<Intercept> intercepts;
  for (std::size_t i = 1; i < samples.size(); ++i) {
    GemmSample const &a = samples[i - 1], &b = samples[i];
    if (a.rows == b.rows && a.active != b.active)
      intercepts.push_back({a.rows, a.tokens, a.us - a.active * (b.us - a.us) / (b.active - a.active)});
  }
  return intercepts;
}

double launch_of(std::vector<Intercept> const& intercepts, std::size_t samples) {
  std::vector<double> values;
  for (Intercept const& one : intercepts)
    if (one.rows <= kMemoryBoundRows) values.push_back(one.us);
  SWITCHYARD_REQUIRE(!values.empty(), invalid_argument,
                     "{} samples of experts have no two EP sizes at equal rows up to {}: measure another EP size",
                     samples, kMemoryBoundRows);
  return upper_median_or_zero(std::move(values));
}

double token_us_of(std::vector<Intercept> const& intercepts, double launch_us) {
  std::vector<double> values;
  for (Intercept const& one : intercepts)
    if (one.tokens >= kManyTokens) values.push_back((one.us - launch_us) / static_cast<double>(one.tokens));
  return upper_median_or_zero(std::move(values));
}

struct Tiles {
  int rows = 0;
  double us = 0;
};

double us_of(Tiles const& tiles, double rows) {
  return tiles.rows == 0 ? 0 : tiles.us * std::ceil(rows / tiles.rows);
}

/// @return `points` less what their tiles take; empty when that leaves nothing at some size.
std::vector<Measurement> without_tiles(std::vector<Measurement> points, Tiles const& tiles) {
  for (Measurement& point : points) {
    point.us -= us_of(tiles, point.size);
    if (point.us <= 0) return {};
  }
  return points;
}

/// Mean relative error of every second inner point, predicted from the others; infinite where tiles take all the time.
double error_of(std::vector<Measurement> const& points, Tiles const& tiles) {
  auto const rest = without_tiles(points, tiles);
  double sum = rest.empty() ? std::numeric_limits<double>::infinity() : 0;
  for (std::size_t const parity : {std::size_t{0}, std::size_t{1}}) {
    std::vector<Measurement> kept;
    for (std::size_t i = 0; i < rest.size(); ++i)
      if (i % 2 == parity || i == 0 || i + 1 == rest.size()) kept.push_back(rest[i]);
    CostCurve const curve = rest.empty() ? CostCurve{} : fit_curve(kept).curve;
    for (std::size_t i = 1; i + 1 < rest.size(); ++i)
      if (i % 2 != parity)
        sum += std::abs(cost_us(curve, points[i].size) + us_of(tiles, points[i].size) - points[i].us) / points[i].us;
  }
  return sum;
}

/// Tried: tiles of 64, 128 and 256 rows that take from a tenth to nine tenths of the largest size's time.
Tiles best_tiles(std::vector<Measurement> const& points) {
  Tiles best;
  double least = error_of(points, best);
  for (int const rows : {64, 128, 256})
    for (int tenths = 1; tenths < 10; ++tenths) {
      Tiles const tiles{rows, points.back().us / std::ceil(points.back().size / rows) * tenths / 10};
      double const error = error_of(points, tiles);
      if (error >= least) continue;
      least = error;
      best = tiles;
    }
  return best;
}

/// What is left per expert of the samples for which `wanted` says so. Empty where that is nothing at some sample.
template <typename Wanted>
std::vector<Measurement> left_per_expert(GroupedGemmCost const& cost, std::vector<GemmSample> const& samples,
                                         Wanted const& wanted) {
  std::vector<Measurement> left;
  for (GemmSample const& sample : samples) {
    if (!wanted(sample)) continue;
    double const tiles = sample.active * std::ceil(sample.rows / cost.tile_rows);
    double const us = sample.us - cost.launch_us - cost.token_us * static_cast<double>(sample.tokens);
    left.push_back({sample.rows, (us - waves_us(cost, tiles, 0)) / sample.active});
    if (left.back().us <= 0) return {};
  }
  return left;
}

/// [row counts] ascending.
std::vector<double> row_counts(std::vector<GemmSample> const& samples) {
  std::vector<double> rows;
  for (GemmSample const& sample : samples) rows.push_back(sample.rows);
  std::sort(rows.begin(), rows.end());
  rows.erase(std::unique(rows.begin(), rows.end()), rows.end());
  return rows;
}

/// Sum of the relative errors of all samples, those of every second row count predicted from the others.
double wave_error(GroupedGemmCost cost, std::vector<GemmSample> const& samples) {
  auto const rows = row_counts(samples);
  double sum = 0;
  for (int const parity : {0, 1}) {
    auto const held_out = [&](GemmSample const& sample) {
      return std::distance(rows.begin(), std::lower_bound(rows.begin(), rows.end(), sample.rows)) % 2 == parity;
    };
    auto const left = left_per_expert(cost, samples, [&](GemmSample const& sample) { return !held_out(sample); });
    if (left.empty()) return std::numeric_limits<double>::infinity();
    cost.per_expert = fit_curve(left).curve;
    for (GemmSample const& sample : samples) {
      if (!held_out(sample)) continue;
      std::vector<std::int64_t> const equal(static_cast<std::size_t>(sample.active),
                                            static_cast<std::int64_t>(std::llround(sample.rows)));
      sum += std::abs(grouped_gemm_us(cost, equal, sample.tokens) - sample.us) / sample.us;
    }
  }
  return sum;
}

/// Tried: a quarter, half, three quarters and all of a last wave's idle SMs.
void fit_wave_loss(GroupedGemmCost& cost, std::vector<GemmSample> const& samples) {
  if (cost.tile_rows == 0 || cost.sms == 0) return;
  GroupedGemmCost best = cost;
  double least = wave_error(cost, samples);
  for (double const loss : {0.25, 0.5, 0.75, 1.0}) {
    GroupedGemmCost tried = cost;
    tried.wave_loss = loss;
    double const error = wave_error(tried, samples);
    if (error >= least) continue;
    least = error;
    tried.per_expert = fit_curve(left_per_expert(tried, samples, [](GemmSample const&) { return true; })).curve;
    if (!tried.per_expert.knots.empty()) best = tried;
  }
  cost = best;
}

}  // namespace

std::string to_string(GemmKey const& key) {
  return fmt::format("{} {}x{} top-{} of {} tp={}", key.dtype, key.hidden, key.intermediate, key.topk, key.experts,
                     key.tp);
}

bool is_gemm_table(std::string_view text) {
  return text.substr(0, text.find('\n')).find("moe_dtype") != std::string_view::npos;
}

std::vector<MeasuredGemm> read_measured_gemms(std::string_view text, std::string const& file) {
  CsvTable const table(text, file);
  CostProvenance const of_file = provenance_of(text, file);
  std::vector<MeasuredGemm> gemms;
  for (std::size_t row = 0; row < table.num_rows(); ++row) {
    if (table.text(row, "distribution") != "balanced") continue;
    CostProvenance provenance = of_file;
    provenance.device = table.text(row, "device");
    provenance.version = table.text(row, "framework") + " " + table.text(row, "version");
    provenance.statistic = "latency as collected; the file states no statistic";
    GemmKey const key = key_of(table, row);
    GemmSample const sample = sample_of(table, row, key);
    if (sample.rows >= 1 && sample.active >= 1) gemm_of(gemms, key, provenance).samples.push_back(sample);
  }
  return gemms;
}

GroupedGemmCost fit_gemm(MeasuredGemm const& measured) {
  GroupedGemmCost cost;
  cost.key = measured.key;
  cost.provenance = measured.provenance;
  auto const intercepts = intercepts_of(measured.samples);
  cost.launch_us = launch_of(intercepts, measured.samples.size());
  cost.token_us = token_us_of(intercepts, cost.launch_us);
  std::vector<Measurement> per_expert;
  for (GemmSample const& sample : measured.samples) {
    double const us = sample.us - cost.launch_us - cost.token_us * static_cast<double>(sample.tokens);
    if (us > 0) per_expert.push_back({sample.rows, us / sample.active});
  }
  auto const points = fit_curve(per_expert).curve.knots;
  Tiles const tiles = best_tiles(points);
  cost.tile_rows = tiles.rows;
  cost.tile_us = tiles.us;
  cost.per_expert = fit_curve(without_tiles(points, tiles)).curve;
  cost.sms = sms_of_device(measured.provenance.device);
  fit_wave_loss(cost, measured.samples);
  return cost;
}

}  // namespace switchyard::sim
