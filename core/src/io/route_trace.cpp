// SPDX-License-Identifier: Apache-2.0
#include "switchyard/io/route_trace.hpp"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "load_formats.hpp"
#include "megatron_trace.hpp"
#include "route_records.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::io {
namespace {

void append_narrow(std::vector<std::int32_t>& out, std::vector<std::int64_t> const& ids) {
  for (std::int64_t const id : ids) out.push_back(static_cast<std::int32_t>(id));
}

RouteTrace read_megatron(std::string_view content, std::string const& name, int num_experts) {
  RouteTrace trace;
  trace.format = RouteFormat::megatron_trace;
  MegatronTrace records(content, name, num_experts);
  for (MegatronRecord record; records.next(record);) {
    RouteBlock& block = trace.blocks.emplace_back();
    block.step = record.step;
    block.layer = record.layer;
    block.top_k = static_cast<int>(record.top_k);
    append_narrow(block.ids, record.ids);
  }
  trace.dropped_other = records.dropped_other();
  trace.num_experts = num_experts;
  return trace;
}

/// Weights are kept only when every record of the layer has them.
void add_record(RouteBlock& block, RouteRecord const& record) {
  bool const had_weights = block.weights.size() == block.ids.size();
  block.layer = record.layer;
  block.top_k = static_cast<int>(record.ids.size());
  append_narrow(block.ids, record.ids);
  if (had_weights) block.weights.insert(block.weights.end(), record.weights.begin(), record.weights.end());
  if (block.weights.size() != block.ids.size()) block.weights.clear();
}

RouteTrace read_records(std::string_view content, std::string const& name, int num_experts) {
  RouteTrace trace;
  RouteRecords records(content, name, num_experts);
  std::map<std::int64_t, RouteBlock> layers;
  for (RouteRecord record; records.next(record);) add_record(layers[record.layer], record);
  for (auto& [layer, block] : layers) trace.blocks.push_back(std::move(block));
  trace.num_experts = records.num_experts();
  trace.dropped_profiling = records.dropped_profiling();
  trace.dropped_other = records.dropped_other();
  return trace;
}

void append_ids(std::string& out, RouteBlock const& block, std::size_t token) {
  auto const top_k = to_size(block.top_k);
  auto const first = block.ids.begin() + static_cast<std::ptrdiff_t>(token * top_k);
  out += fmt::format("[{}]", fmt::join(first, first + block.top_k, ","));
}

std::string write_records(RouteTrace const& trace) {
  std::string out;
  if (trace.num_experts > 0) out += fmt::format("{{\"type\": \"meta\", \"num_experts\": {}}}\n", trace.num_experts);
  for (RouteBlock const& block : trace.blocks) {
    std::size_t const tokens = block.ids.size() / to_size(block.top_k);
    for (std::size_t token = 0; token < tokens; ++token) {
      out += fmt::format("{{\"type\": \"route\", \"token_idx\": {}, \"layer\": {}, \"topk_ids\": ", token, block.layer);
      append_ids(out, block, token);
      if (!block.weights.empty()) {
        auto const first = block.weights.begin() + static_cast<std::ptrdiff_t>(token * to_size(block.top_k));
        out += fmt::format(", \"topk_weights\": [{}]", fmt::join(first, first + block.top_k, ","));
      }
      out += "}\n";
    }
  }
  return out;
}

std::string write_megatron(RouteTrace const& trace) {
  std::string out;
  for (RouteBlock const& block : trace.blocks) {
    std::size_t const tokens = block.ids.size() / to_size(block.top_k);
    out += fmt::format(R"({{"step":{},"stage":"pre_dispatch","block":"decoder","layer":{},"rank":0,"num_tokens":{},)"
                       R"("topk":{},"top_indices":[)",
                       block.step, block.layer, tokens, block.top_k);
    for (std::size_t token = 0; token < tokens; ++token) {
      if (token > 0) out += ',';
      append_ids(out, block, token);
    }
    out += "]}\n";
  }
  return out;
}

}  // namespace

std::string_view to_string(RouteFormat format) noexcept {
  return format == RouteFormat::megatron_trace ? "megatron-trace" : "routing-jsonl";
}

std::vector<std::string> route_format_names() {
  return {std::string(to_string(RouteFormat::routing_jsonl)), std::string(to_string(RouteFormat::megatron_trace))};
}

RouteTrace parse_route_trace(std::string_view content, std::string const& source_name, int num_experts) {
  SWITCHYARD_REQUIRE(num_experts >= 0, invalid_argument, "{} experts asked for: give 0 to take the count from {}",
                     num_experts, source_name);
  LoadFormat const format = detect_load_format(content);
  SWITCHYARD_REQUIRE(format == LoadFormat::jsonl_routing || format == LoadFormat::megatron_trace, parse,
                     "{}: the text looks like {}: a routing recording or a Megatron router trace is required",
                     source_name, io::to_string(format));
  RouteTrace trace = format == LoadFormat::megatron_trace ? read_megatron(content, source_name, num_experts)
                                                          : read_records(content, source_name, num_experts);
  bool const empty =
      std::all_of(trace.blocks.begin(), trace.blocks.end(), [](auto& block) { return block.ids.empty(); });
  SWITCHYARD_REQUIRE(!empty, parse,
                     "{}: no token was routed: {} records look like the engine's profiling pass, {} are of "
                     "another type",
                     source_name, trace.dropped_profiling, trace.dropped_other);
  return trace;
}

std::string write_route_trace(RouteTrace const& trace, RouteFormat format) {
  return format == RouteFormat::megatron_trace ? write_megatron(trace) : write_records(trace);
}

}  // namespace switchyard::io
