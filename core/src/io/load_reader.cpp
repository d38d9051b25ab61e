// SPDX-License-Identifier: Apache-2.0
#include "switchyard/io/load_reader.hpp"

#include <algorithm>
#include <limits>

#include "json_lines.hpp"
#include "load_formats.hpp"
#include "safetensors.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/io/file.hpp"

namespace switchyard::io {
namespace {

constexpr std::string_view kBlank = " \t\r\n";
constexpr std::string_view kZipMark = "PK";
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

/// Told by a member that every record of the engine has; the files begin with other records now and then.
LoadFormat detect_records(std::string_view content) {
  if (content.find("\"record_type\"") != std::string_view::npos) return LoadFormat::vllm_stats;
  if (content.find("\"top_indices\"") != std::string_view::npos) return LoadFormat::megatron_trace;
  return LoadFormat::jsonl_routing;
}

}  // namespace

std::string_view to_string(LoadFormat format) noexcept {
  switch (format) {
    case LoadFormat::json: return "json";
    case LoadFormat::sglang_json: return "sglang_json";
    case LoadFormat::npy: return "npy";
    case LoadFormat::csv: return "csv";
    case LoadFormat::jsonl_routing: return "jsonl_routing";
    case LoadFormat::sglang_pt: return "sglang_pt";
    case LoadFormat::vllm_stats: return "vllm_stats";
    case LoadFormat::trtllm_stats: return "trtllm_stats";
    case LoadFormat::megatron_trace: return "megatron_trace";
  }
  return "unknown";
}

bool is_load(double load) noexcept {
  return load >= 0 && load <= kMaxLoad;
}

void require_load_sizes(LoadText const& text, std::int64_t steps, std::int64_t layers, std::int64_t experts) {
  SWITCHYARD_REQUIRE(steps >= 1 && layers >= 1 && experts >= 1, parse,
                     "{}: {} steps x {} layers x {} experts: the recording is empty", text.name, steps, layers,
                     experts);
  SWITCHYARD_REQUIRE(text.num_experts == 0 || experts == text.num_experts, parse,
                     "{}: the file has {} experts, {} were asked for: correct the expert count or take the recording "
                     "of that model",
                     text.name, experts, text.num_experts);
  std::int64_t cells = 0;
  bool const overflows =
      __builtin_mul_overflow(steps, layers, &cells) || __builtin_mul_overflow(cells, experts, &cells);
  SWITCHYARD_REQUIRE(!overflows && cells <= kMaxLoadCells && experts <= kMaxExperts, parse,
                     "{}: {} steps x {} layers x {} experts exceed the limit of {} experts or {} values: sum or split "
                     "the steps",
                     text.name, steps, layers, experts, kMaxExperts, kMaxLoadCells);
}

IdRange contiguous_range(LoadText const& text, std::string_view what, std::vector<std::int64_t> const& ids) {
  IdRange const range{ids.front(), ids.back() - ids.front() + 1};
  std::string missing;
  std::int64_t shown = 0;
  for (std::size_t i = 1; i < ids.size(); ++i)
    for (std::int64_t id = ids[i - 1] + 1; id < ids[i] && shown < 5; ++id, ++shown) missing += fmt::format(" {}", id);
  std::int64_t const total = range.count - static_cast<std::int64_t>(ids.size());
  SWITCHYARD_REQUIRE(total == 0, parse,
                     "{}: {}s {} to {} are recorded, but not {}{}{}: record every {} or cut the file", text.name, what,
                     ids.front(), ids.back(), what, missing,
                     total > shown ? fmt::format(" and {} more", total - shown) : "", what);
  return range;
}

LoadFormat detect_load_format(std::string_view content) {
  if (!content.empty() && content.front() == '\x93') return LoadFormat::npy;
  if (content.starts_with(kZipMark)) return LoadFormat::sglang_pt;
  if (looks_like_safetensors(content)) return LoadFormat::trtllm_stats;
  if (content.substr(0, 3) == kByteOrderMark) content.remove_prefix(3);
  content.remove_prefix(std::min(content.find_first_not_of(kBlank), content.size()));
  if (content.empty() || content.front() == '[') return LoadFormat::json;
  if (content.front() != '{') return LoadFormat::csv;
  return is_record_per_line(content) ? detect_records(content) : LoadFormat::json;
}

LoadReadResult parse_expert_load(std::string_view content, std::string const& source_name, int num_experts) {
  SWITCHYARD_REQUIRE(num_experts >= 0, invalid_argument, "{} experts asked for: give 0 to take the count from {}",
                     num_experts, source_name);
  SWITCHYARD_REQUIRE(content.size() <= kMaxInputBytes, parse, "{}: {} bytes, the limit is {}: split the file",
                     source_name, content.size(), kMaxInputBytes);
  LoadText const text{content, source_name, num_experts};
  switch (detect_load_format(content)) {
    case LoadFormat::npy: return parse_npy_load(text);
    case LoadFormat::csv: return parse_csv_load(text);
    case LoadFormat::jsonl_routing: return parse_jsonl_load(text);
    case LoadFormat::sglang_pt: return parse_sglang_pt_load(text);
    case LoadFormat::vllm_stats: return parse_vllm_load(text);
    case LoadFormat::trtllm_stats: return parse_trtllm_load(text);
    case LoadFormat::megatron_trace: return parse_megatron_load(text);
    default: return parse_json_load(text);
  }
}

LoadReadResult read_expert_load(std::string const& path, int num_experts) {
  return parse_expert_load(read_file(path), path, num_experts);
}

}  // namespace switchyard::io
