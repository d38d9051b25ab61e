// SPDX-License-Identifier: Apache-2.0
#include "planning/explain_section.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "cli/lists.hpp"

namespace switchyard::cli {
namespace {

/// One side of the move, in one layer.
struct Side {
  ReplicaTable replicas;
  std::vector<double> rank_loads{};
  double mean = 0;
  std::vector<std::int32_t> hosts{};  ///< of the expert, slot ascending
  double share = 0;                   ///< what one replica of it carries
};

/// Loads of the ranks when every replica carries an even share.
Side make_side(std::span<double const> load, ExpertPlacement const& placement, ExplainedExpert const& which) {
  Side side{ReplicaTable(placement, which.layer), {}, 0, {}, 0};
  side.rank_loads.resize(static_cast<std::size_t>(placement.num_ranks()));
  for (std::int32_t e = 0; e < placement.num_experts(); ++e) {
    auto const slots = side.replicas.replicas(ExpertId(e));
    double const share = slots.empty() ? 0 : load[static_cast<std::size_t>(e)] / static_cast<double>(slots.size());
    if (e == which.expert.value()) side.share = share;
    for (SlotId const slot : slots) {
      std::int32_t const rank = placement.layout().rank_of(slot).value();
      side.rank_loads[static_cast<std::size_t>(rank)] += share;
      side.mean += share / static_cast<double>(placement.num_ranks());
      if (e == which.expert.value()) side.hosts.push_back(rank);
    }
  }
  return side;
}

double relative(Side const& side, std::int32_t rank) {
  return side.mean > 0 ? side.rank_loads[static_cast<std::size_t>(rank)] / side.mean : 1;
}

std::string hosts_text(Side const& side) {
  std::string text;
  for (std::int32_t const rank : side.hosts)
    text += fmt::format("{}GPU {} ({:.3f} of the mean load)", text.empty() ? "" : ", ", rank, relative(side, rank));
  return text.empty() ? "no GPU" : text;
}

/// The hosts of `a` that are none of `b`'s.
std::vector<std::int32_t> only_in(Side const& a, Side const& b) {
  std::vector<std::int32_t> ranks;
  for (std::int32_t const rank : a.hosts)
    if (std::find(b.hosts.begin(), b.hosts.end(), rank) == b.hosts.end()) ranks.push_back(rank);
  return ranks;
}

std::string reason(Side const& before, Side const& after) {
  double const mean = before.mean > 0 ? before.mean : 1;
  auto const left = only_in(before, after);
  auto const joined = only_in(after, before);
  if (after.hosts.size() > before.hosts.size())
    return fmt::format(
        "one replica carried {:.3f} of the mean GPU load, too much for a GPU that must hold others too; "
        "with {} replicas each carries {:.3f}",
        before.share / mean, after.hosts.size(), after.share / mean);
  if (after.hosts.size() < before.hosts.size())
    return fmt::format(
        "its {} replicas carried only {:.3f} of the mean GPU load each; the slot serves a hotter expert "
        "now and each remaining replica carries {:.3f}",
        before.hosts.size(), before.share / mean, after.share / mean);
  if (left.empty() && joined.empty()) return "it stays on its GPUs";
  std::string text = "as many replicas as before, on other GPUs:";
  for (std::size_t i = 0; i < std::min(left.size(), joined.size()); ++i)
    text += fmt::format(
        "{} GPU {} stood at {:.3f} of the mean and is at {:.3f} now, GPU {} goes from {:.3f} to {:.3f}",
        i == 0 ? "" : ";", left[i], relative(before, left[i]),
        left[i] < static_cast<std::int32_t>(after.rank_loads.size()) ? relative(after, left[i]) : 0.0, joined[i],
        joined[i] < static_cast<std::int32_t>(before.rank_loads.size()) ? relative(before, joined[i]) : 0.0,
        relative(after, joined[i]));
  return text;
}

std::vector<std::string> copies_of(RebalancePlan const& plan, ExplainedExpert const& which) {
  std::vector<std::string> copies;
  auto const& ranks = plan.layers[static_cast<std::size_t>(which.layer)].ranks;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
    for (ExpertReceive const& receive : ranks[rank].receives)
      if (receive.expert == which.expert)
        copies.push_back(fmt::format("GPU {} fetches it from GPU {}", rank, receive.from.value()));
    for (auto const* list : {&ranks[rank].local_copies, &ranks[rank].duplicates})
      for (LocalCopy const& copy : *list)
        if (copy.expert == which.expert)
          copies.push_back(fmt::format("GPU {} copies it from its slot {} to {}", rank, copy.source_row.value(),
                                       copy.target_row.value()));
  }
  return copies;
}

}  // namespace

std::vector<ExplainedExpert> parse_explained(std::string const& text, int num_layers, int num_experts) {
  std::vector<ExplainedExpert> list;
  for (std::string const& part : split(text, ',')) {
    auto const pair = split(part, ':');
    if (pair.size() != 2) throw UsageError(fmt::format("--explain is '{}': give LAYER:EXPERT,...", text));
    list.push_back({static_cast<int>(integer_of("explain", pair[0], 0, num_layers - 1)),
                    ExpertId(static_cast<std::int32_t>(integer_of("explain", pair[1], 0, num_experts - 1)))});
  }
  return list;
}

ReportSection explain_section(PlanInputs const& inputs, ExpertPlacement const& after, RebalancePlan const& plan,
                              std::vector<ExplainedExpert> const& which) {
  ExpertLoad const load = inputs.source.load.summed();
  ReportSection section{"explain", {}, {}};
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (ExplainedExpert const& one : which) {
    auto const loads = load.at(0, one.layer);
    double const own = loads[static_cast<std::size_t>(one.expert.value())];
    auto const hotter = std::count_if(loads.begin(), loads.end(), [&](double other) { return other > own; });
    Side const was = make_side(loads, inputs.before, one);
    Side const is = make_side(loads, after, one);
    auto const copies = copies_of(plan, one);
    section.text += fmt::format(
        "expert {} of layer {}: load {}, the {}. hottest of {}\n  before   {} replica(s) on {}\n  after    {} "
        "replica(s) on "
        "{}\n  why      {}\n  copies   {}\n",
        one.expert.value(), one.layer, own, hotter + 1, loads.size(), was.hosts.size(), hosts_text(was),
        is.hosts.size(), hosts_text(is), reason(was, is),
        copies.empty() ? "none" : fmt::format("{}", fmt::join(copies, ", ")));
    list.push_back({{"layer", one.layer},
                    {"expert", one.expert.value()},
                    {"load", own},
                    {"rank_of_load", hotter + 1},
                    {"gpus_before", was.hosts},
                    {"gpus_after", is.hosts},
                    {"share_before", was.share},
                    {"share_after", is.share},
                    {"why", reason(was, is)},
                    {"copies", copies}});
  }
  section.json = list.dump();
  return section;
}

}  // namespace switchyard::cli
