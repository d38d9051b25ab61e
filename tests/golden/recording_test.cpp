// SPDX-License-Identifier: Apache-2.0
// Megatron-Core's own recorded results, rewritten as recordings, must pass the check; altered ones must not.
#include "switchyard/dispatch/recording.hpp"

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "support/golden_file.hpp"
#include "switchyard/internal/json_value.hpp"
#include "switchyard/io/recording_jsonl.hpp"

using namespace switchyard;
using io::JsonValue;

namespace {

std::string text_of(JsonValue const& value) {
  if (!value.is_array()) return fmt::format("{}", value.as_int(INT64_MIN, INT64_MAX));
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < value.array_size(); ++i) parts.push_back(text_of(value.at(i)));
  return fmt::format("[{}]", fmt::join(parts, ","));
}

/// What a rank of the case would have recorded.
std::string line_of(JsonValue const& golden, std::size_t rank) {
  auto const result = golden.at("ranks").at(rank);
  bool const alltoall = golden.at("dispatcher").as_string() == "alltoall";
  bool const limited = !golden.at("capacity_factor").is_null();
  std::vector<std::string> members{R"("type":"dispatch","schema_version":1)", fmt::format("\"rank\":{}", rank),
                                   fmt::format("\"family\":\"megatron_{}\"", alltoall ? "alltoall" : "allgather"),
                                   fmt::format("\"row_order\":\"{}\"", alltoall ? "tp_major" : "rank_major")};
  auto const add = [&](std::string_view name, JsonValue const& value) {
    if (!value.is_null()) members.push_back(fmt::format("\"{}\":{}", name, text_of(value)));
  };
  for (char const* key : {"tp", "ep", "num_experts"}) add(key, golden.at(key));
  add("routing", result.at(limited ? "kept_map" : "topk_ids"));
  if (limited && alltoall)
    members.push_back(fmt::format("\"capacity\":{{\"rows\":{},\"padded\":{}}}", text_of(result.at("capacity")),
                                  golden.at("pad_to_capacity").as_bool()));
  add("tokens_per_local_expert", result.at("tokens_per_local_expert"));
  add("row_tags", result.at("dispatched"));
  if (alltoall) {
    for (char const* key :
         {"input_splits", "output_splits", "output_splits_tp", "num_out_tokens", "permutation",
          "sort_input_by_local_experts", "restore_output_by_local_experts", "num_global_tokens_per_local_expert"})
      add(key, result.at(key));
  }
  return fmt::format("{{{}}}\n", fmt::join(members, ","));
}

/// The first mismatch, which there must not be; and one integer changed, which must be found.
std::string check_case(JsonValue const& golden, std::int64_t& integers) {
  // Flex leaves out choices of probability 0, which a recording of its routing cannot show.
  if (golden.at("dispatcher").as_string() == "flex") return "";
  std::string lines;
  for (std::size_t rank = 0; rank < golden.at("ranks").array_size(); ++rank) lines += line_of(golden, rank);
  auto calls = io::parse_recordings(lines, "case").calls;
  auto const report = check_recordings(calls);
  integers += report.integers_compared;
  if (auto const& found = report.first_mismatch)
    return fmt::format("rank {}, {}[{}]", found->rank.value(), found->field, found->index);
  auto& counts = calls.back().fields.front().values;
  ++counts.back();
  return check_recordings(calls).first_mismatch ? "" : "an altered count passes";
}

}  // namespace

TEST_CASE("every AlltoAll and AllGather case of Megatron agrees with the reference") {
  std::int64_t integers = 0;
  auto const cases = support::run_golden_cases("megatron_dev.json", "cases",
                                               [&](JsonValue const& golden) { return check_case(golden, integers); });
  if (cases > 0) CHECK(integers > 10000);
}
