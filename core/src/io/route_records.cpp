// SPDX-License-Identifier: Apache-2.0
#include "route_records.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "load_formats.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::io {

RouteRecords::RouteRecords(std::string_view content, std::string const& source_name, int num_experts)
    : lines_(content, source_name), num_experts_(num_experts) {}

bool RouteRecords::next(RouteRecord& record) {
  while (auto const line = lines_.next()) {
    if (!parse_line(*line, record)) {
      ++dropped_other_;
      continue;
    }
    leading_ = leading_ && is_profiling(record);
    if (!leading_) return true;
    ++dropped_profiling_;
  }
  return false;
}

bool RouteRecords::parse_line(JsonValue const& value, RouteRecord& record) {
  auto const type = value.find("type");
  if (type && type->as_string() != "route") {
    if (type->as_string() == "meta") read_meta(value);
    return false;
  }
  record.layer = value.at("layer").as_int(0, (std::int64_t{1} << 31) - 1);
  JsonValue const ids = value.at("topk_ids");
  record.ids = ids.int_array(-1, kMaxExperts - 1);
  if (top_k_ == 0) top_k_ = record.ids.size();
  if (record.ids.empty()) ids.fail("at least one expert id is required");
  if (record.ids.size() != top_k_) ids.fail(fmt::format("the records before this have {} ids", top_k_));
  for (std::size_t k = 0; k < top_k_; ++k) {
    if (num_experts_ > 0 && record.ids[k] >= num_experts_)
      ids.at(k).fail(
          fmt::format("expert ids must be below the expert count {}: correct the count or the record", num_experts_));
    named_experts_ = std::max(named_experts_, record.ids[k] + 1);
  }
  record.weights.clear();
  if (auto const weights = value.find("topk_weights")) {
    weights->array_size(top_k_);
    record.weights = weights->double_array();
    for (std::size_t k = 0; k < top_k_; ++k)
      if (std::fabs(record.weights[k]) > std::numeric_limits<float>::max()) weights->at(k).fail("a float is required");
  }
  return true;
}

void RouteRecords::read_meta(JsonValue const& value) {
  auto const stated = value.find("num_experts");
  if (!stated) return;
  std::int64_t const count = stated->as_int(1, kMaxExperts);
  if (num_experts_ == 0) num_experts_ = count;
  if (count < named_experts_)
    stated->fail(
        fmt::format("a record before this names expert {}: correct the count or the record", named_experts_ - 1));
  if (count != num_experts_)
    stated->fail(fmt::format("{} experts were asked for or stated before: correct the expert count", num_experts_));
}

// An engine's profiling pass feeds equal logits, so that the first k experts win in an order that means nothing.
bool RouteRecords::is_profiling(RouteRecord const& record) {
  std::vector<std::int64_t> ids = record.ids;
  std::sort(ids.begin(), ids.end());
  for (std::size_t k = 0; k < ids.size(); ++k)
    if (ids[k] != static_cast<std::int64_t>(k)) return false;
  return true;
}

}  // namespace switchyard::io
