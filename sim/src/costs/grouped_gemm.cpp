// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/grouped_gemm.hpp"

#include <algorithm>

#include "costs/csv_table.hpp"
#include "costs/curve_readers.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

constexpr double kUsPerMs = 1000;
constexpr double kMemoryBoundRows = 8;

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
  sample.rows = static_cast<double>(table.integer(row, "num_tokens")) * key.topk / std::max(1, key.experts);
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

/// Where the line through two samples of equal rows meets no experts.
void add_intercepts(std::vector<GemmSample> const& by_rows, std::vector<double>& intercepts) {
  for (std::size_t i = 1; i < by_rows.size(); ++i) {
    GemmSample const &a = by_rows[i - 1], &b = by_rows[i];
    if (a.rows != b.rows || a.rows > kMemoryBoundRows || a.active == b.active) continue;
    intercepts.push_back(a.us - a.active * (b.us - a.us) / (b.active - a.active));
  }
}

double launch_of(std::vector<GemmSample> samples) {
  std::stable_sort(samples.begin(), samples.end(), [](GemmSample const& a, GemmSample const& b) {
    return a.rows != b.rows ? a.rows < b.rows : a.active < b.active;
  });
  std::vector<double> intercepts;
  add_intercepts(samples, intercepts);
  SWITCHYARD_REQUIRE(!intercepts.empty(), invalid_argument,
                     "{} samples of experts have no two EP sizes at equal rows up to {}: measure another EP size",
                     samples.size(), kMemoryBoundRows);
  std::sort(intercepts.begin(), intercepts.end());
  return std::max(0.0, intercepts[intercepts.size() / 2]);
}

}  // namespace

std::string to_string(GemmKey const& key) {
  return fmt::format("{} {}x{} top-{} of {} tp={}", key.dtype, key.hidden, key.intermediate, key.topk, key.experts,
                     key.tp);
}

double grouped_gemm_us(GroupedGemmCost const& cost, std::span<std::int64_t const> rows) {
  double us = 0;
  for (std::int64_t const of_expert : rows) {
    if (of_expert == 0) continue;
    if (us == 0) us = cost.launch_us;
    us += cost_us(cost.per_expert, static_cast<double>(of_expert));
  }
  return us;
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
  GroupedGemmCost cost{measured.key, measured.provenance, launch_of(measured.samples), {}};
  std::vector<Measurement> per_expert;
  for (GemmSample const& sample : measured.samples)
    if (sample.us > cost.launch_us) per_expert.push_back({sample.rows, (sample.us - cost.launch_us) / sample.active});
  cost.per_expert = fit_curve(per_expert).curve;
  return cost;
}

}  // namespace switchyard::sim
