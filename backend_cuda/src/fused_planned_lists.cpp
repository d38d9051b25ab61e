// SPDX-License-Identifier: Apache-2.0
// Lists of plans that are made in every step: their memory, and how announcements travel.
#include <algorithm>
#include <utility>
#include <vector>

#include "device_list.hpp"
#include "device_planner_state.hpp"
#include "fused_lists.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

using Narrow = std::vector<std::int32_t>;

DevicePlannerConfig with_multiple(DevicePlannerConfig config, std::int64_t chunk_bytes) {
  config.announcement_multiple = chunk_bytes;
  return config;
}

/// What a rank sends and receives, chunk by chunk, peers in turn. Every peer gets what it gives.
struct ChunkLists {
  Narrow begin{0};    ///< [chunks + 1] into the others
  Narrow peer;        ///< to whom, and from whom
  Narrow slot_there;  ///< at the peer
  Narrow slot_here;   ///< of the peer's chunk
  std::vector<FusedTerms> terms;
  Narrow place;  ///< in the announcements of all ranks
};

ChunkLists chunk_lists(FusedWindows const& windows, std::int32_t chunks) {
  auto const capacity = static_cast<std::int32_t>(windows.capacity);
  ChunkLists lists;
  for (std::int32_t chunk = 0; chunk < chunks; ++chunk) {
    for (std::int32_t turn = 1; turn < windows.world; ++turn) {
      std::int32_t const peer = (windows.rank + turn) % windows.world;
      auto const number = static_cast<std::int32_t>(lists.terms.size());
      lists.terms.push_back({number, number + 1});
      lists.peer.push_back(peer);
      lists.slot_there.push_back(windows.rank * capacity + chunk);
      lists.slot_here.push_back(peer * capacity + chunk);
      lists.place.push_back(peer * chunks + chunk);
    }
    lists.begin.push_back(static_cast<std::int32_t>(lists.terms.size()));
  }
  return lists;
}

}  // namespace

FusedTables::FusedTables(FusedWindows const& windows, DevicePlanner const& planner, std::int64_t bytes)
    : chunk_bytes(bytes), chunks(planner.announcement_bytes() / bytes) {
  SWITCHYARD_REQUIRE(chunks <= windows.capacity, unsupported,
                     "announcements of {} bytes need {} slots of a window, which has {} for a rank: make the executor "
                     "for wider rows or more tokens",
                     planner.announcement_bytes(), chunks, windows.capacity);
  ChunkLists const lists = chunk_lists(windows, static_cast<std::int32_t>(chunks));
  std::vector<std::int64_t> rows(to_size(windows.world), chunks);
  rows[to_size(windows.rank)] = 0;
  Stream const stream;
  rows_to = upload(rows, stream);
  sent_begin = upload(lists.begin, stream);
  sent_to = upload(lists.peer, stream);
  sent_slot = upload(lists.slot_there, stream);
  own_terms = upload(std::vector<FusedTerms>(to_size(chunks)), stream);
  remote_terms = upload(lists.terms, stream);
  remote_from = upload(lists.peer, stream);
  remote_slot = upload(lists.slot_here, stream);
  places = upload(lists.place, stream);
  no_columns = upload(Narrow(lists.place.size(), 0), stream);
  no_weights = DeviceBuffer(checked_mul(checked_mul(chunks, windows.world), std::int64_t{sizeof(float)}));
}

FusedDispatchParams FusedTables::params(FusedCall call, DevicePlanner const& planner) const {
  call.sent = rows_to.as<std::int64_t const>();
  call.expected = call.sent;
  FusedDispatchParams params{};
  params.call = call;
  params.tokens = planner.announcement();
  params.row_bytes = chunk_bytes;
  params.num_tokens = chunks;
  params.weights = no_weights.as<float const>();
  params.sent_begin = sent_begin.as<std::int32_t const>();
  params.sent_to = sent_to.as<std::int32_t const>();
  params.sent_slot = sent_slot.as<std::int32_t const>();
  params.own_terms = own_terms.as<FusedTerms const>();
  params.remote = {remote_terms.as<FusedTerms const>(), remote_from.as<std::int32_t const>(),
                   remote_slot.as<std::int32_t const>(), chunks * (call.windows.world - 1)};
  params.places = places.as<std::int32_t const>();
  params.term_column = no_columns.as<std::int32_t const>();
  params.num_places = chunks * call.windows.world;
  params.output = planner.announcements();
  params.term_weights = no_weights.as<float>();
  return params;
}

FusedPlan::Lists::Lists(DevicePlannerConfig const& config, FusedWindows const& windows,
                        ExpertPlacement const& placement, int layer, std::int64_t chunk_bytes)
    : planner(std::in_place, with_multiple(config, chunk_bytes), RankId{windows.rank}, placement, layer),
      slot_columns(config.columns),
      expert_rows(planner->max_expert_rows()),
      sent_rows(planner->lists().rank_send),
      received_rows(planner->lists().rank_receive),
      digest(planner->configuration()) {
  std::int64_t const choices = checked_mul(config.max_tokens, config.columns);
  if (planner->state().plans_in_one_block() && choices <= windows.words)
    choices_to = upload(std::vector<std::int64_t>(to_size(windows.world), choices), Stream());
  else
    tables.emplace(windows, *planner, chunk_bytes);
  std::int64_t const sent = checked_mul(config.max_tokens, std::min(config.columns, windows.world));
  num_remote = checked_mul(config.max_tokens, windows.world - 1);
  sent_begin = device_list<std::int32_t>(config.max_tokens + 1);
  join_begin = device_list<std::int32_t>(config.max_tokens + 1);
  own_terms = device_list<FusedTerms>(config.max_tokens);
  for (DeviceBuffer* list : {&sent_to, &sent_slot, &join_slots}) *list = device_list<std::int32_t>(sent);
  remote_terms = device_list<FusedTerms>(num_remote);
  for (DeviceBuffer* list : {&remote_from, &remote_slot, &return_slot}) *list = device_list<std::int32_t>(num_remote);
  for (DeviceBuffer* list : {&places, &term_column, &term_weights}) *list = device_list<std::int32_t>(expert_rows);
  remote_count = upload(std::vector<std::int64_t>{0}, Stream());
}

FusedPlanParams FusedPlan::Lists::plan_params(FusedWindows const& windows) const {
  FusedPlanParams params{};
  params.windows = windows;
  params.lists = planner->lists();
  params.tokens = num_tokens;
  params.plan_error = planner->error();
  params.max_expert_rows = expert_rows;
  params.sent_begin = sent_begin.as<std::int32_t>();
  params.sent_to = sent_to.as<std::int32_t>();
  params.sent_slot = sent_slot.as<std::int32_t>();
  params.own_terms = own_terms.as<FusedTerms>();
  params.places = places.as<std::int32_t>();
  params.term_column = term_column.as<std::int32_t>();
  params.remote_terms = remote_terms.as<FusedTerms>();
  params.remote_from = remote_from.as<std::int32_t>();
  params.remote_slot = remote_slot.as<std::int32_t>();
  params.return_slot = return_slot.as<std::int32_t>();
  params.num_remote = remote_count.as<std::int64_t>();
  params.join_begin = join_begin.as<std::int32_t>();
  params.join_slots = join_slots.as<std::int32_t>();
  return params;
}

FusedPlanBlockParams FusedPlan::Lists::block_params(FusedCall call, DeviceRouting const& routing) const {
  DevicePlanner::State const& state = planner->state();
  state.require_routing(routing);
  call.sent = choices_to.as<std::int64_t const>();
  call.expected = call.sent;
  return {call,        state.block_shape(), state.slots_params(routing),
          state.sorts, state.finish(),      plan_params(call.windows)};
}

}  // namespace switchyard::cuda
