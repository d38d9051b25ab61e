// SPDX-License-Identifier: Apache-2.0
#include "budget_lists.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "cuda_error.hpp"
#include "device_list.hpp"
#include "device_planner_state.hpp"
#include "plan_error.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {
namespace {

using Integers = std::vector<std::int64_t>;

}  // namespace

BudgetPlan::Lists::Lists(BudgetOptions const& given, RankId rank, ExpertPlacement const& placement, int layer)
    : skeleton((require_budget_options(given, placement), plan_skeleton(given.planner, rank, placement, layer))),
      planner(given.planner, rank, placement, layer),
      world(given.planner.grid.world()),
      columns(skeleton.slot_columns) {
  options = completed_options(given, placement, columns);
  add_routes();
  add_slots();
  add_terms();
  // A step at fault sums what no step before it wrote, and withholds the result.
  clear_now({&state, &said, &heard, &slots, &weight_slots, &expert_weights, &term_weights});
}

void BudgetPlan::Lists::add_routes() {
  DevicePlanLists const& lists = planner.lists();
  arrived = planner.state().arrived.as<std::int64_t const>();
  single = {options.single_rows, lists.lane_send, lists.lane_receive, lists.rows, {grid().tp, grid().ep}, {}, {}};
  carried = {options.carried_rows, lists.rank_send, lists.rank_receive, lists.sent, {1, world}, {}, {}};
  if (options.planner.family != DispatchFamily::megatron_allgather) return;
  std::int64_t const rows = checked_mul(most_tokens(), world);
  gather_rows = device_list<std::int64_t>(rows);
  gather_places = device_list<std::int64_t>(rows);
  gather_begin = device_list<std::int64_t>(most_tokens() + 1);
  gather_counts = device_list<std::int64_t>(world);
  carried.sent = gather_counts.as<std::int64_t const>();
  carried.received = lists.tokens_of_rank;
  carried.rows = {gather_rows.as<std::int64_t const>(), nullptr, gather_begin.as<std::int64_t const>(),
                  gather_places.as<std::int64_t const>()};
}

void BudgetPlan::Lists::add_slots() {
  std::int64_t const widest = checked_mul(world, std::max(single.slot_rows, carried.slot_rows));
  std::int64_t const locals = skeleton.num_local_experts();
  state = DeviceBuffer(sizeof(BudgetState));
  said = device_list<BudgetHeader>(world);
  heard = device_list<BudgetHeader>(world);
  state_host = PinnedBuffer(sizeof(BudgetState));
  splits_host = PinnedBuffer(checked_mul(5 * world, std::int64_t{sizeof(std::int64_t)}));
  slots = DeviceBuffer(checked_mul(checked_mul(2, widest), options.max_row_bytes));
  weight_slots = device_list<double>(checked_mul(checked_mul(2 * world, carried.slot_rows), columns));
  send_map = device_list<std::int32_t>(widest);
  land_map = device_list<std::int32_t>(planner.max_expert_rows());
  partial_begin = device_list<std::int64_t>(checked_mul(world, carried.slot_rows) + 1);
  row_begin = device_list<std::int64_t>(checked_mul(world, locals) + 1);
  slot_begin = device_list<std::int64_t>(checked_mul(world, locals + 1));
  if (!has_parts()) return;
  joined_experts =
      device_list<std::int32_t>(std::max(checked_mul(grid().ep, single.slot_rows), planner.max_expert_rows()));
}

void BudgetPlan::Lists::add_terms() {
  std::int64_t const in_step = checked_mul(most_tokens(), columns);
  std::int64_t const terms = std::max({in_step, planner.max_expert_rows(), checked_mul(most_tokens(), world)});
  join_begin = device_list<std::int64_t>(most_tokens() + 1);
  join_terms = device_list<std::int64_t>(terms);
  term_weights = device_list<double>(terms);
  if (carries_weights()) expert_weights = device_list<float>(planner.max_expert_rows());
  Stream const stream;
  ones = upload(std::vector<float>(to_size(in_step), 1.0F), stream);
  if (single.slot_rows == 0) return;
  Integers numbers(to_size(in_step));
  std::iota(numbers.begin(), numbers.end(), std::int64_t{0});
  choices = upload(numbers, stream);
  ranks_of_token = std::min<std::int64_t>(columns, options.planner.grid.ep);
  Integers first(to_size(most_tokens()) + 1);
  for (std::size_t token = 0; token < first.size(); ++token)
    first[token] = static_cast<std::int64_t>(token) * ranks_of_token;
  first_rank_sum = upload(first, stream);
  rank_begin = device_list<std::int64_t>(first.back() + 1);
  rank_terms = device_list<std::int64_t>(first.back());
  for (std::int64_t& choice : numbers) choice /= columns;
  token_of_choice = upload(numbers, stream);
  arrived_choice = device_list<std::int64_t>(in_step);
  sent_choice = device_list<std::int64_t>(in_step);
}

bool BudgetPlan::Lists::dispatches_singles() const {
  return moves_single_rows(options.planner.family);
}

BudgetExchange BudgetPlan::Lists::exchange(BudgetRoute const& route, bool is_back, std::uint64_t digest) const {
  BudgetExchange exchange{};
  exchange.state = state.as<BudgetState>();
  exchange.said = said.as<BudgetHeader>();
  exchange.heard = heard.as<BudgetHeader const>();
  exchange.sent = is_back ? route.received : route.sent;
  exchange.received = is_back ? route.sent : route.received;
  exchange.slot_rows = route.slot_rows;
  exchange.rank = skeleton.rank.value();
  exchange.world = world;
  exchange.lanes = route.lanes;
  exchange.digest = digest;
  return exchange;
}

BudgetChunks BudgetPlan::Lists::chunks() const {
  DevicePlanner::State const& state_of_plan = planner.state();
  return {row_begin.as<std::int64_t const>(),
          slot_begin.as<std::int64_t const>(),
          state_of_plan.source_at.as<std::int32_t const>(),
          state_of_plan.position_of.as<std::int32_t const>(),
          state_of_plan.bins.bin_begin.as<std::int64_t const>(),
          skeleton.num_local_experts()};
}

void BudgetPlan::Lists::plan(StreamView stream) {
  if (options.planner.family == DispatchFamily::megatron_allgather)
    launch_budget_gather(
        {planner.lists(), world, skeleton.num_tokens, gather_counts.as<std::int64_t>(), gather_rows.as<std::int64_t>(),
         gather_begin.as<std::int64_t>(), gather_places.as<std::int64_t>()},
        stream);
  BudgetPlanParams params{};
  params.lists = planner.lists();
  params.plan_error = planner.error();
  params.state = state.as<BudgetState>();
  params.carried_sent = carried.sent;
  params.carried_received = carried.received;
  params.arrived = arrived;
  params.source_at = planner.state().source_at.as<std::int32_t const>();
  params.chunk_of = planner.state().chunk_of.as<std::int32_t const>();
  params.single_slot_rows = single.slot_rows;
  params.carried_slot_rows = carried.slot_rows;
  params.world = world;
  params.num_local = skeleton.num_local_experts();
  params.row_begin = row_begin.as<std::int64_t>();
  params.slot_begin = slot_begin.as<std::int64_t>();
  launch_budget_plan(params, stream);
  if (options.exact_splits) read_splits(stream);
}

void BudgetPlan::Lists::read_splits(StreamView stream) {
  struct List {
    std::int64_t const* device;
    Integers* host;
    std::int64_t most;
  };
  List const lists[] = {{single.sent, &single.sent_on_host, single.slot_rows},
                        {single.received, &single.received_on_host, single.slot_rows},
                        {carried.sent, &carried.sent_on_host, carried.slot_rows},
                        {carried.received, &carried.received_on_host, carried.slot_rows},
                        {arrived, &arrived_on_host, planner.max_expert_rows()}};
  std::size_t const bytes = to_size(world) * sizeof(std::int64_t);
  std::byte* pinned = splits_host.data();
  for (List const& list : lists) {
    if (list.device != nullptr)
      SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(pinned, list.device, bytes, cudaMemcpyDeviceToHost, stream.handle()));
    pinned += bytes;
  }
  stream.synchronize();
  auto const* rows = reinterpret_cast<std::int64_t const*>(splits_host.data());
  for (List const& list : lists) {
    list.host->assign(to_size(world), 0);
    for (std::size_t rank = 0; rank < to_size(world) && list.device != nullptr; ++rank)
      (*list.host)[rank] = std::min(rows[rank], list.most);  // both ends of a message cut alike
    rows += world;
  }
}

void BudgetPlan::Lists::move(DeviceCommunicator& comm, BudgetRoute const& route, bool is_back, BudgetCall const& call,
                             std::initializer_list<BudgetSlots> all_slots) {
  auto const rows = [&](RankId peer, bool is_sent) {
    if (call.within_lane && !grid().same_lane(peer, skeleton.rank)) return std::int64_t{0};
    if (!options.exact_splits) return route.slot_rows;
    return (is_sent != is_back ? route.sent_on_host : route.received_on_host)[peer.index()];
  };
  sends.clear();
  receives.clear();
  for (RankId peer(0); peer.value() < world; ++peer) {
    if (peer == skeleton.rank) continue;
    constexpr auto kWord = static_cast<std::int64_t>(sizeof(BudgetHeader));
    sends.push_back({peer, said.as<BudgetHeader>() + peer.value(), kWord});
    receives.push_back({peer, heard.as<BudgetHeader>() + peer.value(), kWord});
    for (auto const& [buffer, row_size] : all_slots) {
      std::int64_t const slot = route.slot_rows * row_size;
      std::byte* const sent = buffer.as<std::byte>() + route.lanes.slot_of(peer.value()) * slot;
      sends.push_back({peer, sent, rows(peer, true) * row_size});
      receives.push_back({peer, sent + world * slot, rows(peer, false) * row_size});
    }
  }
  comm.exchange_on(call.stream, sends, receives, {call.operation, call.digest, call.deadline});
}

void BudgetPlan::Lists::check(StreamView stream) {
  SWITCHYARD_CUDA_TRY(
      cudaMemcpyAsync(state_host.data(), state.data(), sizeof(BudgetState), cudaMemcpyDeviceToHost, stream.handle()));
  stream.synchronize();
  BudgetState found{};
  std::memcpy(&found, state_host.data(), sizeof found);
  if (found.error == 0) return;
  std::uint64_t const sequence = found.sequence;
  fill_bytes(state, 0, stream);
  SWITCHYARD_CUDA_TRY(
      cudaMemcpyAsync(state.data(), &sequence, sizeof sequence, cudaMemcpyHostToDevice, stream.handle()));
  planner.forget_error(stream);
  stream.synchronize();
  throw_group_error(found);
}

void BudgetPlan::Lists::throw_group_error(BudgetState const& found) const {
  auto const kind = static_cast<std::uint32_t>(found.error >> kPlanErrorShift);
  std::uint64_t const detail = found.error & kPlanDetailMask;
  SWITCHYARD_REQUIRE(kind != static_cast<std::uint32_t>(BudgetError::other_call), desync,
                     "ranks 0 and {} issued different calls over slots: number, phase, recipe, dtype or hidden size "
                     "differ; outputs are zeros since then",
                     kPlanDetailMask - detail);
  SWITCHYARD_REQUIRE(
      kind != static_cast<std::uint32_t>(BudgetError::other_rows), split_mismatch,
      "rank {} has not the rows for rank {} that the latter's plan expects; outputs are zeros since then", detail,
      found.error_rank);
  bool const is_size = kind == static_cast<std::uint32_t>(PlanError::overflow) ||
                       kind == static_cast<std::uint32_t>(BudgetError::full_slot);
  SWITCHYARD_REQUIRE(!is_size, shape_mismatch,
                     "a step needs {} expert rows of {}, {} single rows for a peer of {} and {} carried rows for a "
                     "peer of {} (rank {} needs the most, {}): routing is too uneven for the budgets; give these sizes "
                     "or drop tokens",
                     found.needs.expert_rows, planner.max_expert_rows(), found.needs.single_rows, single.slot_rows,
                     found.needs.carried_rows, carried.slot_rows, found.error_rank, detail);
  throw_plan_error(found.error, {static_cast<int>(found.error_rank), numbered_columns(options.planner, columns),
                                 planner.max_expert_rows()});
}

BudgetPlan::BudgetPlan(DeviceCommunicator& comm, BudgetOptions const& options, ExpertPlacement const& placement,
                       int layer)
    : lists_(std::make_unique<Lists>(options, comm.rank(), placement, layer)) {
  lists_->compare_options(comm);
}
BudgetPlan::~BudgetPlan() = default;
BudgetPlan::BudgetPlan(BudgetPlan&&) noexcept = default;
BudgetPlan& BudgetPlan::operator=(BudgetPlan&&) noexcept = default;

std::int64_t BudgetPlan::expert_rows() const noexcept {
  return lists_->planner.max_expert_rows();
}
DevicePlanner const& BudgetPlan::planner() const noexcept {
  return lists_->planner;
}
BudgetOptions const& BudgetPlan::options() const noexcept {
  return lists_->options;
}

}  // namespace switchyard::cuda
