// SPDX-License-Identifier: Apache-2.0
// What the GPU benchmarks write: an object per line, first ones that say where it ran, then one per case with all its
// samples. Cases whose names differ in numbers only are sizes of one curve.
#include <algorithm>
#include <array>

#include "costs/curve_readers.hpp"
#include "switchyard/internal/json_value.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

constexpr int kMaxRanks = 1 << 20;

struct BenchReader {
  std::string file;
  CostProvenance provenance;
  std::string device{}, nccl{};
  std::vector<MeasuredCurve> curves{};
};

/// "permute 4096 rows" -> "permute N rows", "dispatch T=128" -> "dispatch T=N".
std::string without_numbers(std::string const& name) {
  auto const is_digit = [](char c) { return c >= '0' && c <= '9'; };
  std::string text;
  for (std::size_t i = 0; i < name.size(); ++i) {
    bool const starts = is_digit(name[i]) && (i == 0 || name[i - 1] == ' ' || name[i - 1] == '=');
    std::size_t end = i;
    while (starts && end < name.size() && is_digit(name[end])) ++end;
    if (!starts || (end < name.size() && name[end] != ' ' && name[end] != ',')) {
      text += name[i];
      continue;
    }
    text += 'N';
    i = end - 1;
  }
  return text;
}

/// @return the member that is the case's size, and its unit: bytes of an all-to-all, tokens, or bytes moved.
std::pair<char const*, SizeUnit> size_of(io::JsonValue const& record) {
  if (record.find("total_bytes")) return {"total_bytes", SizeUnit::bytes_per_rank};
  if (record.find("tokens")) return {"tokens", SizeUnit::tokens_per_rank};
  return {"bytes", SizeUnit::bytes_moved};
}

std::string variant_of(io::JsonValue const& record, std::string const& size_member) {
  constexpr std::array<std::string_view, 9> kOther{"name",     "bytes",      "median_us", "gbs", "busbw_gbs",
                                                   "of_floor", "samples_us", "ranks",     "rows"};
  std::string text;
  for (std::string const& member : record.keys())
    if (member != size_member && std::find(kOther.begin(), kOther.end(), member) == kOther.end())
      text += fmt::format("{}{}={:g}", text.empty() ? "" : " ", member, record.at(member).as_double());
  return text;
}

CurveKey key_of(io::JsonValue const& record, std::string const& device) {
  auto const [member, unit] = size_of(record);
  CurveKey key{without_numbers(record.at("name").as_string()), device, 0, variant_of(record, member), unit};
  if (auto const ranks = record.find("ranks")) key.ranks = static_cast<int>(ranks->as_int(1, kMaxRanks));
  constexpr std::string_view kUneven = "alltoallv ";
  if (key.operation.rfind(kUneven, 0) == 0 && unit == SizeUnit::bytes_per_rank) {
    key.variant = key.operation.substr(kUneven.size(), key.operation.find(' ', kUneven.size()) - kUneven.size());
    key.operation = "alltoallv";
  }
  return key;
}

/// The machine's line is "NAME, compute capability ..., CUDA runtime ...": the software is what follows the name.
void set_origin(BenchReader& reader, io::JsonValue const& record, bool ranks) {
  if (reader.device.empty()) record.fail("there is no {\"device\": ...} line before it: unknown origin is not fitted");
  if (record.find("total_bytes") && reader.nccl.empty())
    record.fail("a bare all-to-all without a {\"nccl\": ...} line before it: the version is not known");
  auto const comma = reader.device.find(", ");
  std::string const rest = comma == std::string::npos ? "" : reader.device.substr(comma + 2);
  reader.provenance.device = reader.device.substr(0, comma);
  reader.provenance.version = rest + (rest.empty() || reader.nccl.empty() ? "" : ", ") + reader.nccl;
  if (reader.provenance.version.empty()) record.fail("the device line names no CUDA runtime: the version is not known");
  reader.provenance.statistic = ranks ? "every sample: the largest time of any rank" : "every sample: one timed call";
}

void read_record(BenchReader& reader, io::JsonValue const& record) {
  if (auto const device = record.find("device")) {
    reader.device = device->as_string();
  } else if (auto const nccl = record.find("nccl")) {
    reader.nccl = nccl->as_string();
  } else {
    set_origin(reader, record, record.find("ranks").has_value());
    CurveKey const key = key_of(record, reader.provenance.device);
    // The benchmarks write large sizes with six digits; fit() refuses negative ones.
    double const size = record.at(size_of(record).first).as_double();
    auto& samples = curve_of(reader.curves, key, reader.provenance).samples;
    for (double const us : record.at("samples_us").double_array()) samples.push_back({size, us});
  }
}

}  // namespace

bool is_bench_json(std::string_view text) {
  auto const end = text.find('\n');
  if (end == std::string_view::npos || text.find_first_not_of(" \t\r\n", end) == std::string_view::npos) return false;
  auto const last = text.substr(0, end).find_last_not_of(" \t\r");
  return last != std::string_view::npos && last > 0 && text[last] == '}';
}

std::vector<MeasuredCurve> read_bench_json(std::string_view text, std::string const& file) {
  BenchReader reader{file, provenance_of(text, file)};
  for (std::size_t line = 1; !text.empty(); ++line) {
    auto const end = text.find('\n');
    std::string_view const one = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (one.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    read_record(reader, io::JsonDocument::parse(one, fmt::format("{}: line {}", file, line)).root());
  }
  SWITCHYARD_REQUIRE(!reader.curves.empty(), parse, "{}: no case among its lines: the benchmark did not finish", file);
  return std::move(reader.curves);
}

}  // namespace switchyard::sim
