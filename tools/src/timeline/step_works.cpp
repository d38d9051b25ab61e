// SPDX-License-Identifier: Apache-2.0
#include "timeline/step_works.hpp"

#include <algorithm>
#include <iterator>
#include <numeric>

namespace switchyard::cli {
namespace {

/// The dispatches that a timeline goes through: those of a recording, or the plans themselves.
std::vector<TimedPlans const*> dispatches_of(std::vector<TimedPlans> const& plans) {
  std::vector<TimedPlans const*> all;
  for (TimedPlans const& one : plans.front().calls.empty() ? plans : plans.front().calls) all.push_back(&one);
  return all;
}

/// Replicas are chosen by the layer's number, too.
bool has_replicas(std::span<ExpertId const> slots) {
  std::vector<ExpertId> sorted(slots.begin(), slots.end());
  std::sort(sorted.begin(), sorted.end());
  sorted.erase(std::remove(sorted.begin(), sorted.end(), kNoExpert), sorted.end());
  return std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
}

bool changes(RebalancePlan const& move, int layer) {
  auto const before = move.before.layer(layer), after = move.after.layer(layer);
  return !std::equal(before.begin(), before.end(), after.begin(), after.end());
}

}  // namespace

sim::BatchWork work_of(std::vector<sim::TrafficPhase> phases) {
  auto const half = phases.begin() + static_cast<std::ptrdiff_t>(phases.size() / 2);
  sim::BatchWork work;
  work.dispatch.assign(std::make_move_iterator(phases.begin()), std::make_move_iterator(half));
  work.combine.assign(std::make_move_iterator(half), std::make_move_iterator(phases.end()));
  return work;
}

std::int64_t bytes_of(sim::TrafficPhase const& phase) {
  return std::accumulate(phase.flows.begin(), phase.flows.end(), std::int64_t{0},
                         [](std::int64_t sum, sim::Flow const& flow) { return sum + flow.bytes; });
}

void LargestPhase::see(sim::TrafficPhase const& phase) {
  std::int64_t const bytes = bytes_of(phase);
  if (bytes < bytes_) return;
  phase_ = &phase;
  bytes_ = bytes;
}

StepWorks::StepWorks(std::vector<TimedPlans> const& plans, std::vector<std::string> const& names,
                     StepShape const& shape, RebalancePlan const* move, ParsedOptions const& options,
                     sim::ClusterSpec const& cluster)
    : options_(options), cluster_(cluster) {
  auto const dispatches = dispatches_of(plans);
  for (std::size_t i = 0; i < dispatches.size(); ++i) {
    if (move != nullptr) reroutings_.emplace_back(*dispatches[i], *move, names[std::min(i, names.size() - 1)], options);
    as_given_.push_back(-1);
  }
  auto const given = [&](std::size_t plan) {
    if (as_given_[plan] < 0) as_given_[plan] = add(*dispatches[plan]);
    return as_given_[plan];
  };
  std::size_t const places = static_cast<std::size_t>(shape.layers) * static_cast<std::size_t>(shape.batches);
  for (std::size_t i = 0; i < places * static_cast<std::size_t>(shape.recorded_steps); ++i) {
    std::size_t const plan = i % dispatches.size();
    int const layer = static_cast<int>(i % places) / shape.batches;
    bool const moved = move != nullptr && layer < move->before.num_layers();
    sim::WorkChoice choice;
    choice.work =
        !moved || reroutings_[plan].is_of(move->before, layer) ? given(plan) : work_under(plan, move->before, layer);
    if (moved && changes(*move, layer)) choice.after_move = work_under(plan, move->after, layer);
    all_.choices.push_back(choice);
  }
}

int StepWorks::add(TimedPlans const& plans) {
  all_.works.push_back(work_of(phases_of(plans, options_, cluster_)));
  all_.rows.push_back(expert_rows_of(plans));
  return static_cast<int>(all_.works.size()) - 1;
}

int StepWorks::work_under(std::size_t plan, ExpertPlacement const& placement, int layer) {
  auto const slots = placement.layer(layer);
  auto const [entry, added] = work_of_map_.try_emplace(
      {plan, has_replicas(slots) ? layer : 0, std::vector<ExpertId>(slots.begin(), slots.end())});
  if (added) entry->second = add(reroutings_[plan].under(placement, layer));
  return entry->second;
}

}  // namespace switchyard::cli
