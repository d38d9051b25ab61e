// SPDX-License-Identifier: Apache-2.0
#include "load_formats.hpp"
#include "physical_counts.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "vllm_stats.hpp"

namespace switchyard::io {
namespace {

/// Every record must fit the first, and its ids the expert count asked for.
void require_same(LoadText const& text, PhysicalCounts const& counts, VllmStatsRecord const& record,
                  std::int64_t number) {
  SWITCHYARD_REQUIRE(counts.empty() || counts.layers() == record.layers, parse,
                     "{}: statistics record {} (from 0): $.expert_load has {} layers, the records before it have {}",
                     text.name, number, record.layers, counts.layers());
  for (std::size_t i = 0; text.num_experts > 0 && i < record.map.size(); ++i)
    SWITCHYARD_REQUIRE(record.map[i] < text.num_experts, parse,
                       "{}: statistics record {} (from 0): $.p2l_map[{}][{}]: found {}, ids must be below the expert "
                       "count {}: correct the count",
                       text.name, number, i / record.slots, i % record.slots, record.map[i], text.num_experts);
}

}  // namespace

LoadReadResult parse_vllm_load(LoadText const& text) {
  LoadReadResult result;
  result.format = LoadFormat::vllm_stats;
  VllmStats stats(text.content, text.name);
  PhysicalCounts counts(text);
  for (VllmStatsRecord record; stats.next(record); ++result.records) {
    require_same(text, counts, record, result.records);
    counts.add_step(record.layers, record.counts, record.map);
  }
  result.dropped_other = stats.dropped_other();
  SWITCHYARD_REQUIRE(result.records > 0, parse,
                     "{}: no record of type \"eplb_load_stats\" among {}: set expert_load_stats_path and record again",
                     text.name, result.dropped_other);
  result.load = counts.load();
  return result;
}

}  // namespace switchyard::io
