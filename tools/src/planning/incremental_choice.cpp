// SPDX-License-Identifier: Apache-2.0
#include "planning/incremental_choice.hpp"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "cli/table.hpp"

namespace switchyard::cli {
namespace {

constexpr std::size_t kShownPoints = 12;
constexpr std::int64_t kNoLimit = std::int64_t{1} << 60;

std::optional<std::int64_t> limit(ParsedOptions const& options, char const* name) {
  if (!options.has(name)) return std::nullopt;
  return options.integer(name, 0, kNoLimit);
}

std::string_view describe(DuplicatesKept reason) {
  switch (reason) {
    case DuplicatesKept::none: break;
    case DuplicatesKept::move_limits: return "over a limit on moves";
    case DuplicatesKept::no_legal_change: return "because nothing else may stand there";
    case DuplicatesKept::horizon: return "because the horizon does not pay for them";
    case DuplicatesKept::asked: return "as asked";
  }
  return "";
}

}  // namespace

OptionTable incremental_options() {
  return {
      {"max-moves", OptionKind::optional, "N", "", "incremental: the most experts to fetch, over all layers"},
      {"max-bytes", OptionKind::optional, "BYTES", "", "incremental: the most bytes to fetch, over all layers"},
      {"max-moves-per-layer", OptionKind::optional, "N", "", "incremental: the most experts to fetch in one layer"},
      {"max-per-gpu", OptionKind::optional, "N", "", "incremental: the most experts a GPU sends or receives per layer"},
      {"max-per-link", OptionKind::optional, "N", "",
       "incremental: the most experts from one GPU to another per layer"},
      {"keep-duplicates", OptionKind::flag, "", "",
       "incremental: spend no moves on slots that repeat an expert on their GPU"},
      {"pareto", OptionKind::flag, "", "", "incremental: print the whole trade-off between moves and balance"}};
}

void require_limits_fit(ParsedOptions const& options, std::string const& policy) {
  if (policy == "incremental") return;
  for (OptionSpec const& option : incremental_options())
    if (options.has(option.name))
      throw UsageError(
          fmt::format("--{} is kept by --policy incremental only, not by {}: change one of them", option.name, policy));
}

IncrementalResult run_incremental(ParsedOptions const& options, PlanInputs const& inputs) {
  if (inputs.mapping.mode != ScaleMode::none)
    throw UsageError(
        "--policy incremental starts from the placement of the same GPUs: scale with another policy first");
  PolicyRequest request = inputs.request;
  request.current = std::make_shared<ExpertPlacement const>(inputs.before);
  IncrementalOptions settings;
  settings.limits.max_moves = limit(options, "max-moves");
  settings.limits.max_bytes = limit(options, "max-bytes");
  settings.limits.max_moves_per_layer = limit(options, "max-moves-per-layer");
  settings.limits.max_receives_per_rank = limit(options, "max-per-gpu");
  settings.limits.max_sends_per_rank = limit(options, "max-per-gpu");
  settings.limits.max_moves_per_link = limit(options, "max-per-link");
  settings.keep_duplicates = options.has("keep-duplicates");
  settings.costs.expert_bytes = inputs.expert_bytes;
  settings.costs.network_bytes_per_second = static_cast<double>(inputs.rates.network_bytes_per_us) * 1e6;
  settings.costs.local_bytes_per_second = static_cast<double>(inputs.rates.intra_bytes_per_us) * 1e6;
  if (options.has("horizon")) {
    settings.costs.horizon_steps = options.number("horizon", 1e-9, 1e15);
    settings.costs.seconds_per_figure = options.number("row-ns", 1e-6, 1e12) * 1e-9;
  }
  return improve_placement(inputs.source.load, request, settings);
}

std::vector<ParetoPoint> pareto_of(IncrementalResult const& result) {
  double start = 0;
  for (IncrementalLayer const& layer : result.layers) start += layer.current_figure;
  std::vector<ParetoPoint> points;
  for (PlanPoint const& point : pareto_points(result))
    points.push_back({point.moves, start > 0 ? point.total_figure / start : 1});
  return points;
}

ReportSection duplicates_section(IncrementalResult const& result) {
  int before = 0;
  std::map<DuplicatesKept, int> left;
  for (IncrementalLayer const& layer : result.layers) {
    before += layer.duplicates_before;
    if (layer.duplicates_left > 0) left[layer.duplicates_kept] += layer.duplicates_left;
  }
  nlohmann::ordered_json json{{"before", before}};
  std::string reasons;
  int total = 0;
  for (auto const& [reason, slots] : left) {
    total += slots;
    json["kept_for"][std::string(to_string(reason))] = slots;
    reasons += fmt::format("{}{} {}", reasons.empty() ? ": " : ", ", slots, describe(reason));
  }
  json["left"] = total;
  if (before == 0 && total == 0) return {"duplicates", json.dump(), ""};
  return {"duplicates", json.dump(),
          fmt::format("duplicates {} slots repeated an expert on their GPU, {} still do{}\n", grouped(before),
                      grouped(total), reasons)};
}

ReportSection pareto_section(std::vector<ParetoPoint> const& points, std::int64_t expert_bytes) {
  TextTable table({"trade-off: fetches", "bytes", "wait for the busiest GPUs"});
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  std::size_t const step = points.size() / kShownPoints + 1;
  for (std::size_t i = 0; i < points.size(); ++i) {
    list.push_back({{"fetches", points[i].moves}, {"relative_wait", points[i].wait_ratio}});
    if (i % step != 0 && i + 1 != points.size()) continue;
    table.add_row({grouped(points[i].moves), human_bytes(points[i].moves * expert_bytes),
                   fmt::format("{:.4f} of now", points[i].wait_ratio)});
  }
  std::string text = table.str();
  if (step > 1) text += fmt::format("(every {}. of {} points; --format json has all)\n", step, points.size());
  return {"pareto", list.dump(), text};
}

}  // namespace switchyard::cli
