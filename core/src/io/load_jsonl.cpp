// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>

#include "load_formats.hpp"
#include "route_records.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::io {
namespace {

/// Routed tokens per layer and expert; a layer's vector ends at the largest id it has seen.
class LayerCounts {
 public:
  explicit LayerCounts(LoadText const& text) : text_(text) {}

  void add(RouteRecord const& record) {
    std::vector<double>& counts = layers_[record.layer];
    auto const largest = *std::max_element(record.ids.begin(), record.ids.end());
    if (static_cast<std::int64_t>(counts.size()) <= largest) {
      cells_ += largest + 1 - static_cast<std::int64_t>(counts.size());
      SWITCHYARD_REQUIRE(cells_ <= kMaxLoadCells, parse, "{}: more than {} layers x experts", text_.name,
                         kMaxLoadCells);
      counts.resize(static_cast<std::size_t>(largest + 1));
    }
    for (std::int64_t const id : record.ids)
      if (id >= 0) counts[static_cast<std::size_t>(id)] += 1;
  }

  /// @param experts above every id that was added @param first_layer receives the lowest layer id.
  [[nodiscard]] ExpertLoad load(std::int64_t experts, int& first_layer) const {
    std::vector<std::int64_t> ids;
    for (auto const& [layer, counts] : layers_) ids.push_back(layer);
    IdRange const range = contiguous_range(text_, "layer", ids);
    first_layer = static_cast<int>(range.first);
    require_load_sizes(text_, 1, range.count, experts);
    std::vector<double> values;
    for (auto const& [layer, counts] : layers_) {
      values.insert(values.end(), counts.begin(), counts.end());
      values.resize(values.size() + static_cast<std::size_t>(experts) - counts.size());
    }
    return {1, static_cast<int>(range.count), static_cast<int>(experts), std::move(values)};
  }

 private:
  LoadText const& text_;
  std::map<std::int64_t, std::vector<double>> layers_;
  std::int64_t cells_ = 0;
};

}  // namespace

LoadReadResult parse_jsonl_load(LoadText const& text) {
  LoadReadResult result;
  result.format = LoadFormat::jsonl_routing;
  RouteRecords records(text.content, text.name, text.num_experts);
  LayerCounts counts(text);
  for (RouteRecord record; records.next(record); ++result.records) counts.add(record);
  result.dropped_profiling = records.dropped_profiling();
  result.dropped_other = records.dropped_other();
  SWITCHYARD_REQUIRE(
      result.records > 0, parse,
      "{}: no routing record of a real token: {} look like the engine's profiling pass (ids 0 to k-1), {} "
      "are of another type: record real requests",
      text.name, result.dropped_profiling, result.dropped_other);
  // Stated or not, the count holds for the records of a profiling pass, too.
  result.load = counts.load(std::max(records.num_experts(), records.named_experts()), result.first_layer);
  return result;
}

}  // namespace switchyard::io
