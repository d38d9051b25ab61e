// SPDX-License-Identifier: Apache-2.0
#include "megatron_trace.hpp"

#include <fmt/format.h>

#include "load_formats.hpp"

namespace switchyard::io {
namespace {

constexpr std::int64_t kMaxInt = (std::int64_t{1} << 31) - 1;

void read_tokens(JsonValue const& line, int num_experts, MegatronRecord& record) {
  JsonValue const rows = line.at("top_indices");
  std::int64_t const limit = num_experts > 0 ? num_experts : kMaxExperts;
  auto const tokens = static_cast<std::size_t>(line.at("num_tokens").as_int(0, kMaxLoadCells));
  rows.array_size(tokens);
  for (std::size_t token = 0; token < tokens; ++token) {
    rows.at(token).array_size(record.top_k);
    auto const ids = rows.at(token).int_array(-1, limit - 1);
    record.ids.insert(record.ids.end(), ids.begin(), ids.end());
  }
}

}  // namespace

bool MegatronTrace::next(MegatronRecord& record) {
  while (auto const line = lines_.next()) {
    if (line->at("block").as_string() != "decoder") {
      ++dropped_other_;
      continue;
    }
    if (auto const stage = line->find("stage"); stage && stage->as_string() != "pre_dispatch")
      stage->fail("records of stage \"pre_dispatch\" are read");
    record.step = line->at("step").as_int(0, kMaxInt);
    record.layer = line->at("layer").as_int(0, kMaxInt);
    static_cast<void>(line->at("rank").as_int(0, kMaxInt));
    record.top_k = static_cast<std::size_t>(line->at("topk").as_int(1, kMaxExperts));
    record.ids.clear();
    read_tokens(*line, num_experts_, record);
    return true;
  }
  return false;
}

}  // namespace switchyard::io
