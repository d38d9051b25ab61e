// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/device_plan.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <span>
#include <utility>

#include "device_lists.hpp"
#include "join_bias.hpp"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

using Integers = std::vector<std::int64_t>;

DeviceMap upload_map(Integers const& map, StreamView stream) {
  std::int64_t const largest = map.empty() ? 0 : *std::max_element(map.begin(), map.end());
  if (largest > std::numeric_limits<std::int32_t>::max()) return {upload(map, stream), true};
  return {upload(std::vector<std::int32_t>(map.begin(), map.end()), stream), false};
}

/// @return nothing for a map with rows of zeros, with wide indices, or whose sources have one place each on average.
DevicePlaces upload_places(Integers const& map, StreamView stream) {
  if (map.empty() || map.size() > to_size(std::numeric_limits<std::int32_t>::max())) return {};
  std::int64_t const sources = *std::max_element(map.begin(), map.end()) + 1;
  auto const written = std::count_if(map.begin(), map.end(), [](std::int64_t row) { return row != kSkippedRow; });
  bool const has_zeros = std::find(map.begin(), map.end(), -1) != map.end();
  if (has_zeros || sources <= 0 || written < checked_mul(sources, 2)) return {};
  Integers begin(to_size(sources) + 1, 0);
  for (std::int64_t const source : map)
    if (source >= 0) ++begin[to_size(source) + 1];
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<std::int32_t> places(to_size(written));
  Integers next = begin;
  for (std::size_t row = 0; row < map.size(); ++row)
    if (map[row] >= 0) places[to_size(next[to_size(map[row])]++)] = static_cast<std::int32_t>(row);
  return {upload(begin, stream), upload(places, stream), sources};
}

DeviceStep upload_step(PathStep step, StreamView stream) {
  DeviceStep placed;
  placed.rows = output_rows_of(step);
  if (auto* map = std::get_if<MapStep>(&step)) {
    placed.places = upload_places(map->map, stream);
    placed.map = upload_map(std::exchange(map->map, {}), stream);
  }
  placed.step = std::move(step);
  return placed;
}

DevicePath upload_path(std::vector<PathStep> steps, StreamView stream) {
  DevicePath path;
  for (PathStep& step : steps) path.steps.push_back(upload_step(std::move(step), stream));
  return path;
}

/// A path that own rows pass.
DevicePath upload_forked_path(std::vector<PathStep> steps, RankId self, StreamView stream) {
  auto own = take_own_rows(steps, self);
  DevicePath path = upload_path(std::move(steps), stream);
  if (!own.empty()) path.own = upload_step(MapStep{std::move(own)}, stream);
  return path;
}

/// For each term, the sum that it belongs to.
Integers owners_of(Integers const& begin) {
  Integers owners(begin.empty() ? 0 : to_size(begin.back()));
  for (std::size_t sum = 0; sum + 1 < begin.size(); ++sum)
    std::fill(owners.begin() + begin[sum], owners.begin() + begin[sum + 1], static_cast<std::int64_t>(sum));
  return owners;
}

DeviceTerms upload_terms(Integers const& begin, Integers const& rows, Integers const& weight_index, StreamView stream) {
  Integers const bounds = begin.empty() ? Integers{0} : begin;
  DeviceTerms terms;
  terms.begin = upload(bounds, stream);
  terms.rows = upload(rows, stream);
  terms.weight_index = upload(weight_index, stream);
  terms.inputs = upload(owners_of(bounds), stream);
  terms.num_sums = static_cast<std::int64_t>(bounds.size()) - 1;
  terms.num_terms = static_cast<std::int64_t>(rows.size());
  return terms;
}

/// Sums of a gather's rows. @param begin of the sums, offsets into gather.rows_of_token
DeviceTerms upload_sums(RowGather const& gather, Integers const& begin, std::int64_t columns, StreamView stream) {
  Integers index;
  for (std::int64_t const row : gather.rows_of_token)
    index.push_back(gather.token_of_row[to_size(row)] * columns + gather.slot_of_row[to_size(row)]);
  return upload_terms(begin, gather.rows_of_token, index, stream);
}

/// A sum for every token.
DeviceTerms upload_gather(RowGather const& gather, std::int64_t columns, StreamView stream) {
  return upload_sums(gather, gather.row_begin, columns, stream);
}

/// Blocks of partials to the ranks that the tokens came from.
MoveStep partial_move(DispatchPlan const& plan, TpJoin join, internal::PartialPath const& path) {
  MoveStep move = move_blocks("combine partials", path.held, path.returned);
  auto const stays = [&](RowBlock const& block) { return !internal::exchanges_partials(plan, join, block.peer); };
  std::erase_if(move.sends, stays);
  std::erase_if(move.receives, stays);
  return move;
}

}  // namespace

DevicePlan::Lists::Lists(DispatchPlan checked, DevicePlanOptions const& options)
    : plan(std::move(checked)), layout(options.layout), experts(options.experts.begin(), options.experts.end()) {
  Stream const stream;
  dispatch = upload_forked_path(forward_steps(plan, plan.stages, layout, false), plan.rank, stream);
  home = upload_forked_path(inverse_steps(plan, return_path(plan), layout), plan.rank, stream);
}

DeviceTerms const& DevicePlan::Lists::source_terms(SumOrder order) {
  bool const sorted = order == SumOrder::source_expert;
  auto& terms = sorted ? by_expert_ : by_slot_;
  if (!terms) {
    auto const& gather = std::get<RowGather>(return_path(plan).front());
    terms = sorted ? upload_gather(internal::ordered_by_expert(plan, gather, experts), plan.slot_columns, Stream())
                   : upload_gather(gather, plan.slot_columns, Stream());
  }
  return *terms;
}

DeviceRankSums const& DevicePlan::Lists::rank_sums() {
  if (!rank_sums_) {
    auto const sums = internal::rank_sums(plan);
    Integers partials(sums.row_begin.size() - 1);
    std::iota(partials.begin(), partials.end(), std::int64_t{0});
    rank_sums_ = DeviceRankSums{upload_sums(sums.rows, sums.row_begin, plan.slot_columns, Stream()),
                                upload_terms(sums.partial_begin, partials, {}, Stream())};
  }
  return *rank_sums_;
}

DeviceTerms const& DevicePlan::Lists::expansion() {
  if (!expansion_) expansion_ = upload_gather(std::get<RowGather>(plan.stages.back()), plan.slot_columns, Stream());
  return *expansion_;
}

DevicePartials const& DevicePlan::Lists::partials(TpJoin join) {
  auto& partials = partials_[join == TpJoin::as_ranks ? 1 : 0];
  if (!partials) {
    auto const path = internal::partial_path(plan, join);
    partials = DevicePartials{partial_move(plan, join, path), upload_terms(path.begin, path.partials, {}, Stream())};
  }
  return *partials;
}

DevicePath const& DevicePlan::Lists::gradient_path() {
  if (!gradient_path_)
    gradient_path_ = upload_forked_path(forward_steps(plan, return_path(plan), layout, true), plan.rank, Stream());
  return *gradient_path_;
}

DevicePath const& DevicePlan::Lists::weight_path() {
  if (!weight_path_) {
    auto const carrying = std::span(plan.stages).first(plan.stages.size() - 1);
    auto steps = forward_steps(plan, carrying, ReceiveLayout::blocks, false);
    for (PathStep& step : steps)
      if (auto* move = std::get_if<MoveStep>(&step)) move->operation = "combine weights";
    weight_path_ = upload_path(std::move(steps), Stream());
  }
  return *weight_path_;
}

DeviceBuffer const& DevicePlan::Lists::ones() {
  if (!ones_)
    ones_ = upload(std::vector<float>(to_size(checked_mul(plan.num_tokens, plan.slot_columns)), 1.0F), Stream());
  return *ones_;
}

DeviceBuffer const& DevicePlan::Lists::joined_experts(bool in_shares) {
  auto& joined = joined_experts_[in_shares ? 1 : 0];
  if (!joined) {
    auto const steps = in_shares ? share_steps(plan) : inverse_steps(plan, return_path(plan), layout);
    joined = upload(experts_of_joined_rows(plan, steps), Stream());
  }
  return *joined;
}

DevicePlan::DevicePlan(DispatchPlan plan, DevicePlanOptions const& options) {
  require_valid(plan);
  lists_ = std::make_unique<Lists>(std::move(plan), options);
}
DevicePlan::~DevicePlan() = default;
DevicePlan::DevicePlan(DevicePlan&&) noexcept = default;
DevicePlan& DevicePlan::operator=(DevicePlan&&) noexcept = default;

DispatchPlan const& DevicePlan::plan() const noexcept {
  return lists_->plan;
}

}  // namespace switchyard::cuda
