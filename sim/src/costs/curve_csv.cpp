// SPDX-License-Identifier: Apache-2.0
// Calibration files as CSV: nccl-tests all-to-all and DeepEP kernels, told apart by their columns.
#include "costs/csv_table.hpp"
#include "costs/curve_readers.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

constexpr double kUsPerMs = 1000;
constexpr int kRanksNotStated = 0;  // DeepEP's tables name nodes only

struct CsvSource {
  CsvTable table;
  CostProvenance provenance;
  std::vector<MeasuredCurve> curves{};
};

CostProvenance provenance_of_row(CsvSource const& source, std::size_t row, std::string const& library,
                                 char const* statistic) {
  CostProvenance provenance = source.provenance;
  provenance.device = source.table.text(row, "device");
  provenance.version = library + " " + source.table.text(row, "version");
  provenance.statistic = statistic;
  return provenance;
}

std::string system_of(CsvTable const& table, std::size_t row) {
  return table.text(row, table.has("system") ? "system" : "device");
}

std::int64_t element_bytes(CsvTable const& table, std::size_t row) {
  std::string const dtype = table.text(row, "nccl_dtype");
  if (dtype == "half" || dtype == "bfloat16") return 2;
  if (dtype == "int8" || dtype == "uint8") return 1;
  if (dtype == "float") return 4;
  throw_error(ErrorCode::parse,
              fmt::format("nccl_dtype \"{}\" is not known: use half, bfloat16, int8, uint8, float", dtype));
}

void add_nccl_row(CsvSource& source, std::size_t row) {
  CsvTable const& table = source.table;
  CurveKey const key{table.text(row, "op_name"), system_of(table, row),
                     static_cast<int>(table.integer(row, "num_gpus")), "", SizeUnit::bytes_per_rank};
  auto const bytes = table.integer(row, "message_size") * element_bytes(table, row);
  curve_of(source.curves, key, provenance_of_row(source, row, "NCCL", "average of the timed calls"))
      .samples.push_back({static_cast<double>(bytes), table.number(row, "latency") * kUsPerMs});
}

CurveKey deepep_key(CsvTable const& table, std::size_t row, char const* way) {
  auto const nodes = table.integer(row, "node_num");
  CurveKey key{fmt::format("deepep_{} {}", table.text(row, "op_name"), way), system_of(table, row), kRanksNotStated, "",
               SizeUnit::tokens_per_rank};
  key.variant = fmt::format("nodes={} topk={} experts={} hidden={}", nodes, table.integer(row, "num_topk"),
                            table.integer(row, "num_experts"), table.integer(row, "hidden_size"));
  std::string const sms = fmt::format("{}_sms", way);
  if (table.has(sms)) key.variant += fmt::format(" sms={}", table.integer(row, sms));
  return key;
}

/// @param columns their times add up.
void add_deepep_row(CsvSource& source, std::size_t row, char const* way, std::vector<std::string> const& columns) {
  CsvTable const& table = source.table;
  auto const provenance =
      provenance_of_row(source, row, "DeepEP with " + table.text(row, "framework"), "average of the timed calls");
  double us = 0;
  for (std::string const& column : columns) us += table.number(row, column);
  curve_of(source.curves, deepep_key(table, row, way), provenance)
      .samples.push_back({static_cast<double>(table.integer(row, "num_token")), us});
}

}  // namespace

std::vector<MeasuredCurve> read_curve_csv(std::string_view text, std::string const& file) {
  CsvSource source{CsvTable(text, file), provenance_of(text, file)};
  CsvTable const& table = source.table;
  bool const nccl = table.has("nccl_dtype"), low_latency = table.has("dispatch_avg_t_us");
  SWITCHYARD_REQUIRE(nccl || low_latency || table.has("dispatch_transmit_us"), parse,
                     "{}: its columns are of no calibration file: see docs/simulator.md for those that are read", file);
  for (std::size_t row = 0; row < table.num_rows(); ++row) {
    if (nccl) add_nccl_row(source, row);
    for (std::string const way : {"dispatch", "combine"}) {
      if (nccl) break;
      auto const columns = low_latency ? std::vector<std::string>{way + "_avg_t_us"}
                                       : std::vector<std::string>{way + "_transmit_us", way + "_notify_us"};
      add_deepep_row(source, row, way.c_str(), columns);
    }
  }
  return std::move(source.curves);
}

}  // namespace switchyard::sim
