// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <utility>

#include "load_formats.hpp"
#include "megatron_trace.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::io {
namespace {

/// Choices per (step, layer) and expert; records of several ranks or micro-batches add up.
class StepLayerCounts {
 public:
  explicit StepLayerCounts(LoadText const& text) : text_(text) {}

  void add(MegatronRecord const& record) {
    std::vector<double>& counts = cells_[{record.step, record.layer}];
    for (std::int64_t const id : record.ids) {
      if (id < 0) continue;
      if (to_size(id) >= counts.size()) grow(counts, to_size(id) + 1);
      counts[to_size(id)] += 1;
    }
  }

  [[nodiscard]] LoadReadResult result() const {
    IdRange const steps = range_of("step", [](Key const& key) { return key.first; });
    IdRange const layers = range_of("layer", [](Key const& key) { return key.second; });
    std::int64_t const experts = text_.num_experts > 0 ? text_.num_experts : static_cast<std::int64_t>(widest_);
    require_load_sizes(text_, steps.count, layers.count, experts);
    SWITCHYARD_REQUIRE(cells_.size() == to_size(steps.count * layers.count), parse,
                       "{}: {} steps x {} layers are named, but only {} of them have a record: is the file cut off?",
                       text_.name, steps.count, layers.count, cells_.size());
    std::vector<double> values;
    for (auto const& [key, counts] : cells_) {
      values.insert(values.end(), counts.begin(), counts.end());
      values.resize(values.size() + to_size(experts) - counts.size());
    }
    LoadReadResult result;
    result.load = ExpertLoad(static_cast<int>(steps.count), static_cast<int>(layers.count), static_cast<int>(experts),
                             std::move(values));
    result.first_layer = static_cast<int>(layers.first);
    return result;
  }

 private:
  using Key = std::pair<std::int64_t, std::int64_t>;  // step, layer

  void grow(std::vector<double>& counts, std::size_t experts) {
    total_ += experts - counts.size();
    SWITCHYARD_REQUIRE(total_ <= to_size(kMaxLoadCells), parse, "{}: more than {} steps x layers x experts", text_.name,
                       kMaxLoadCells);
    counts.resize(experts);
    widest_ = std::max(widest_, experts);
  }

  template <typename Field>
  [[nodiscard]] IdRange range_of(std::string_view what, Field const& field) const {
    std::vector<std::int64_t> ids;
    for (auto const& [key, counts] : cells_) ids.push_back(field(key));
    std::sort(ids.begin(), ids.end());
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    return contiguous_range(text_, what, ids);
  }

  LoadText const& text_;
  std::map<Key, std::vector<double>> cells_;
  std::size_t widest_ = 0;
  std::size_t total_ = 0;
};

}  // namespace

LoadReadResult parse_megatron_load(LoadText const& text) {
  MegatronTrace trace(text.content, text.name, text.num_experts);
  StepLayerCounts counts(text);
  std::int64_t records = 0;
  for (MegatronRecord record; trace.next(record); ++records) counts.add(record);
  SWITCHYARD_REQUIRE(records > 0, parse, "{}: no record of the decoder among {}: trace a forward pass of the model",
                     text.name, trace.dropped_other());
  LoadReadResult result = counts.result();
  result.format = LoadFormat::megatron_trace;
  result.records = records;
  result.dropped_other = trace.dropped_other();
  return result;
}

}  // namespace switchyard::io
