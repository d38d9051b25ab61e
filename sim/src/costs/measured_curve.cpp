// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/measured_curve.hpp"

#include <algorithm>

#include "costs/curve_readers.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/types/fingerprint.hpp"

namespace switchyard::sim {
namespace {

std::string base_name(std::string const& file) {
  auto const slash = file.find_last_of('/');
  return slash == std::string::npos ? file : file.substr(slash + 1);
}

}  // namespace

std::string_view to_string(SizeUnit unit) noexcept {
  switch (unit) {
    case SizeUnit::bytes_per_rank: return "bytes_per_rank";
    case SizeUnit::tokens_per_rank: return "tokens_per_rank";
    case SizeUnit::bytes_moved: return "bytes_moved";
    default: return "rows_per_expert";
  }
}

std::string to_string(CurveKey const& key) {
  std::string text = key.operation + " " + key.system;
  if (key.ranks > 0) text += fmt::format(" x{}", key.ranks);
  return key.variant.empty() ? text : text + " " + key.variant;
}

void require_valid(CostProvenance const& provenance) {
  std::pair<char const*, std::string const*> const members[] = {{"file", &provenance.file},
                                                                {"digest", &provenance.digest},
                                                                {"device", &provenance.device},
                                                                {"version", &provenance.version},
                                                                {"statistic", &provenance.statistic}};
  for (auto const& [name, text] : members)
    SWITCHYARD_REQUIRE(!text->empty(), invalid_argument,
                       "provenance.{} is empty: costs of unknown origin are not used, say where they are from", name);
}

CostProvenance provenance_of(std::string_view text, std::string const& file) {
  FingerprintBuilder digest;
  digest.add(1, text);
  CostProvenance provenance;
  provenance.file = base_name(file);
  provenance.digest = digest.result().to_hex();
  return provenance;
}

MeasuredCurve& curve_of(std::vector<MeasuredCurve>& curves, CurveKey const& key, CostProvenance const& provenance) {
  auto const found = std::find_if(curves.begin(), curves.end(), [&](MeasuredCurve const& curve) {
    return curve.key == key && curve.provenance == provenance;
  });
  if (found != curves.end()) return *found;
  curves.push_back({key, provenance, {}});
  return curves.back();
}

std::vector<MeasuredCurve> read_measured_curves(std::string_view text, std::string const& file) {
  auto const first = text.find_first_not_of(" \t\r\n");
  if (first != std::string_view::npos && text[first] == '{')
    return is_bench_json(text.substr(first)) ? read_bench_json(text, file) : read_curve_json(text, file);
  if (is_nccl_tests_text(text)) return read_nccl_tests_text(text, file);
  return read_curve_csv(text, file);
}

}  // namespace switchyard::sim
