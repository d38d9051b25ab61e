// SPDX-License-Identifier: Apache-2.0
#include "vllm_stats.hpp"

#include <fmt/format.h>

#include "load_formats.hpp"

namespace switchyard::io {
namespace {

constexpr std::int64_t kMaxInt = (std::int64_t{1} << 31) - 1;

VllmStatsRecord read_record(JsonValue const& line) {
  VllmStatsRecord record;
  static_cast<void>(line.at("step").as_int(0, std::int64_t{1} << 53));
  record.num_ranks = static_cast<int>(line.at("num_ranks").as_int(1, kMaxInt));
  JsonValue const loads = line.at("expert_load");
  JsonValue const map = line.at("p2l_map");
  record.layers = loads.array_size();
  if (record.layers == 0) loads.fail("at least one layer is required");
  map.array_size(record.layers);
  if (auto const stated = line.find("num_layers"))
    if (stated->as_int(1, kMaxInt) != static_cast<std::int64_t>(record.layers))
      stated->fail(fmt::format("expert_load has {} layers", record.layers));
  record.slots = loads.at(std::size_t{0}).array_size();
  if (record.slots == 0) loads.at(std::size_t{0}).fail("at least one slot is required");
  for (std::size_t layer = 0; layer < record.layers; ++layer) {
    loads.at(layer).array_size(record.slots);
    map.at(layer).array_size(record.slots);
    for (std::int64_t const count : loads.at(layer).int_array(0, static_cast<std::int64_t>(kMaxLoad)))
      record.counts.push_back(static_cast<double>(count));
    for (std::int64_t const expert : map.at(layer).int_array(-1, kMaxExperts - 1)) record.map.push_back(expert);
  }
  return record;
}

}  // namespace

bool is_vllm_record(JsonValue const& line, std::string_view type) {
  auto const stated = line.find("record_type");
  if (!stated || stated->as_string() != type) return false;
  if (line.at("version").as_int(0, kMaxInt) != 1) line.at("version").fail("records of version 1 are read");
  return true;
}

bool VllmStats::next(VllmStatsRecord& record) {
  while (auto const line = lines_.next()) {
    if (is_vllm_record(*line, "eplb_load_stats")) {
      record = read_record(*line);
      return true;
    }
    ++dropped_other_;
  }
  return false;
}

}  // namespace switchyard::io
