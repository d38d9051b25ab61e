// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/device_planner.hpp"

#include <cstring>
#include <utility>

#include "cuda_error.hpp"
#include "device_planner_state.hpp"
#include "nvtx_range.hpp"
#include "plan_error.hpp"
#include "switchyard/internal/plan_fields.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"
#include "system_probe.hpp"

namespace switchyard::cuda {
namespace {

std::int64_t kind_of(DispatchStage const& stage) {
  if (std::holds_alternative<RowExchange>(stage)) return internal::kKindRowExchange;
  if (std::holds_alternative<ChunkSort>(stage)) return internal::kKindChunkSort;
  if (auto const* gather = std::get_if<GroupGather>(&stage))
    return gather->group == GatherGroup::tp ? internal::kKindTpGather : internal::kKindWorldGather;
  if (std::holds_alternative<ShardRepeat>(stage)) return internal::kKindShardRepeat;
  return internal::kKindRowGather;
}

void add_kinds(FingerprintBuilder& builder, std::uint32_t field, std::vector<DispatchStage> const& stages) {
  for (auto const& stage : stages) {
    builder.add(field, kind_of(stage));
    field += internal::kFieldsPerStage;
  }
}

/// The words of a fingerprint that no kernel has to add.
std::uint64_t host_words(DispatchPlan const& skeleton, std::optional<CapacityLimit> const& limit) {
  FingerprintBuilder builder;
  builder.add(internal::kFieldSetup, static_cast<std::int64_t>(skeleton.setup.fingerprint().value));
  std::int64_t const numbers[] = {limit ? 1 : 0, limit ? limit->rows : 0, limit && limit->padded ? 1 : 0};
  builder.add(internal::kFieldCapacity, numbers);
  add_kinds(builder, internal::kFieldStages, skeleton.stages);
  add_kinds(builder, internal::kFieldRowReturn, skeleton.row_return);
  return builder.result().value;
}

void copy_words(std::int64_t const* device, std::int64_t* host, std::int64_t count, StreamView stream) {
  if (count <= 0) return;
  SWITCHYARD_CUDA_TRY(
      cudaMemcpyAsync(host, device, to_size(count) * sizeof(std::int64_t), cudaMemcpyDeviceToHost, stream.handle()));
}

}  // namespace

std::optional<CapacityLimit> DevicePlanner::State::limit_of(std::int64_t tokens) const {
  if (!config.capacity) return {};
  CapacityPolicy const& policy = *config.capacity;
  bool const exact = policy.rule == CapacityRule::exact;
  SWITCHYARD_REQUIRE(exact ? policy.ratio.has_value() : policy.factor.has_value(), invalid_argument,
                     "capacity policy of rank {} without a {}", skeleton.rank.value(), exact ? "ratio" : "factor");
  int const top_k = config.capacity_top_k > 0 ? config.capacity_top_k : config.columns;
  auto const choices = checked_mul(tokens, top_k);
  int const experts = skeleton.setup.num_experts;
  auto const capacity =
      exact ? exact_capacity(choices, experts, *policy.ratio) : megatron_capacity(choices, experts, *policy.factor);
  SWITCHYARD_REQUIRE(!policy.pad_to_capacity || capacity <= tokens, invalid_argument,
                     "padding to a capacity of {} needs as many tokens, but rank {} holds {}: lower the capacity "
                     "factor or do not pad",
                     capacity, skeleton.rank.value(), tokens);
  return CapacityLimit{capacity, policy.pad_to_capacity};
}

DeviceRouting DevicePlanner::State::apply_capacity(DeviceRouting const& routing, StreamView stream) const {
  PlanCapacityParams params{};
  params.ids = routing.ids;
  params.map = routing.map;
  params.weights = routing.weights;
  params.tokens = routing.tokens;
  params.top_k = config.columns;
  params.experts = skeleton.setup.num_experts;
  params.capacity = limit->rows;
  params.by_weight = config.capacity->policy == DropPolicy::probs;
  params.pads = config.capacity->pad_to_capacity;
  params.dense_map = dense_map.as<std::uint8_t>();
  params.dense_weights = dense_weights.as<float>();
  params.kept_map = kept_map.as<std::uint8_t>();
  params.kept_weights = kept_weights.as<float>();
  params.error = error.as<unsigned long long>();
  launch_plan_capacity(params, stream);
  return {nullptr, params.kept_map, params.kept_weights, routing.tokens};
}

DevicePlanner::DevicePlanner(DevicePlannerConfig const& config, RankId rank, ExpertPlacement const& placement,
                             int layer)
    : state_(std::make_unique<State>(config, rank, placement, layer)) {
  require_device_code("a DevicePlanner");
}
DevicePlanner::~DevicePlanner() = default;
DevicePlanner::DevicePlanner(DevicePlanner&&) noexcept = default;
DevicePlanner& DevicePlanner::operator=(DevicePlanner&&) noexcept = default;

void DevicePlanner::State::require_routing(DeviceRouting const& routing) const {
  int const rank = skeleton.rank.value();
  SWITCHYARD_REQUIRE(routing.tokens >= 0 && routing.tokens <= config.max_tokens, invalid_argument,
                     "rank {} assigns {} tokens, its planner was made for {}", rank, routing.tokens, config.max_tokens);
  if (routing.tokens == 0) return;
  bool const is_dense = config.form == RoutingForm::dense;
  SWITCHYARD_REQUIRE((routing.map != nullptr) == is_dense && (routing.ids != nullptr) == !is_dense, invalid_argument,
                     "rank {} plans {} routings: pass {} and nothing else", rank, is_dense ? "dense" : "top-k",
                     is_dense ? "a map" : "ids");
  bool const needs_weights = config.capacity || (is_flex() && config.selection == FlexSelection::nonzero_weights);
  SWITCHYARD_REQUIRE(!needs_weights || routing.weights != nullptr, invalid_argument,
                     "rank {} assigns without weights, which decide here what is kept", rank);
}

PlanSlotsParams DevicePlanner::State::slots_params(DeviceRouting const& routing) const {
  PlanBlocks const& mine = sorts.sort[own].blocks;
  PlanSlotsParams params{};
  params.ids = routing.ids;
  params.map = routing.map;
  params.weights = routing.weights;
  params.drops_zero_weights = is_flex() && config.selection == FlexSelection::nonzero_weights;
  params.tokens = routing.tokens;
  params.columns = columns;
  params.experts = skeleton.setup.num_experts;
  params.replica_begin = replica_begin.as<std::int32_t const>();
  params.replica_slots = replica_slots.as<std::int32_t const>();
  params.fixed = fixed.as<std::int32_t const>();
  params.context = {config.replica_rule, 0, skeleton.setup.layer, skeleton.rank.value(), columns};
  params.configuration = configuration;
  params.header = reinterpret_cast<PlanHeader*>(mine.data);
  params.slots = reinterpret_cast<std::int32_t*>(mine.data + sizeof(PlanHeader));
  params.error = error.as<unsigned long long>();
  return params;
}

void DevicePlanner::assign(DeviceRouting const& routing, StreamView stream) {
  NvtxRange const range("plan assign");
  State& state = *state_;
  state.require_routing(routing);
  state.limit = state.is_megablocks() ? state.limit_bins(routing.tokens) : state.limit_of(routing.tokens);
  DeviceRouting const kept = state.config.capacity ? state.apply_capacity(routing, stream) : routing;
  launch_plan_slots(state.slots_params(kept), stream);
  if (!state.announces_counts()) return;
  launch_plan_count(state.sorts, stream);
  launch_plan_announce(state.sorts.sort[state.own], static_cast<PlanHeader*>(announcement()), stream);
}

std::uint64_t DevicePlanner::configuration() const noexcept {
  return state_->configuration;
}
std::int64_t DevicePlanner::announcement_bytes() const noexcept {
  return state_->block_bytes;
}
void* DevicePlanner::announcement() const noexcept {
  return state_->announcements.as<std::byte>() + state_->skeleton.rank.value() * state_->block_bytes;
}
void* DevicePlanner::announcements() const noexcept {
  return state_->announcements.data();
}

void DevicePlanner::exchange(DeviceCommunicator& comm, StreamView stream) {
  NvtxRange const range("plan exchange");
  State const& state = *state_;
  SWITCHYARD_REQUIRE(comm.rank() == state.skeleton.rank && comm.size() == state.world, invalid_argument,
                     "the planner of rank {} of {} exchanges over a communicator as rank {} of {}",
                     state.skeleton.rank.value(), state.world, comm.rank().value(), comm.size());
  std::vector<DeviceSend> sends;
  std::vector<DeviceReceive> receives;
  for (RankId peer(0); peer.value() < state.world; ++peer) {
    if (peer == comm.rank()) continue;
    sends.push_back({peer, announcement(), state.block_bytes});
    receives.push_back(
        {peer, state.announcements.as<std::byte>() + peer.value() * state.block_bytes, state.block_bytes});
  }
  CallOptions options;
  options.operation = "dispatch announcements";
  options.configuration = state.configuration;
  comm.exchange_on(stream, sends, receives, options);
}

void DevicePlanner::plan(StreamView stream) {
  NvtxRange const range("plan lists");
  State const& state = *state_;
  if (state.plans_in_one_block()) return launch_plan_block(state.block_shape(), state.sorts, state.finish(), stream);
  if (!state.announces_counts()) launch_plan_count(state.sorts, stream);
  launch_plan_place(state.sorts, state.finish(), stream);
  if (state.is_megablocks()) launch_plan_bins(state.bins_params(), stream);
}

std::int64_t DevicePlanner::max_expert_rows() const noexcept {
  return state_->max_expert_rows;
}
unsigned long long const* DevicePlanner::error() const noexcept {
  return state_->error.as<unsigned long long const>();
}
DevicePlanLists const& DevicePlanner::lists() const noexcept {
  return state_->lists;
}
std::uint8_t const* DevicePlanner::kept_map() const noexcept {
  return state_->kept_map.as<std::uint8_t const>();
}
float const* DevicePlanner::kept_weights() const noexcept {
  return state_->kept_weights.as<float const>();
}

void DevicePlanner::fingerprint(std::uint64_t* result, StreamView stream) const {
  NvtxRange const range("plan fingerprint");
  State& state = *state_;
  PlanDigestParams params{};
  params.lists[params.count++] = {internal::kFieldRank, -1, 4, 4, state.numbers.as<std::int64_t const>()};
  for (BoundList const& bound : state.bind(state.skeleton)) {
    SWITCHYARD_REQUIRE(params.count < PlanDigestParams::kMaxLists, internal, "a plan of more than {} lists",
                       PlanDigestParams::kMaxLists);
    params.lists[params.count++] = bound.list;
  }
  params.numbers = state.numbers.as<std::int64_t const>();
  params.base = host_words(state.skeleton, state.limit);
  params.result = result;
  launch_plan_digest(params, stream);
}

DispatchPlan DevicePlanner::download(StreamView stream) const {
  NvtxRange const range("plan download");
  State const& state = *state_;
  check(stream);
  std::vector<std::int64_t> numbers(kPlanNumberCount);
  copy_words(state.numbers.as<std::int64_t const>(), numbers.data(), kPlanNumberCount, stream);
  stream.synchronize();
  DispatchPlan plan = state.skeleton;
  plan.num_tokens = numbers[kPlanTokens];
  plan.capacity = state.limit;
  for (BoundList const& bound : state.bind(plan)) {
    PlanList const& list = bound.list;
    std::int64_t const count = list.fixed_count + (list.count_at >= 0 ? numbers[to_size(list.count_at)] : 0);
    SWITCHYARD_REQUIRE(count >= 0 && count <= list.max_count, internal,
                       "list {} of rank {} has {} entries in memory for {}", list.field, plan.rank.value(), count,
                       list.max_count);
    if (bound.target != nullptr) bound.target->resize(to_size(count));
    copy_words(list.values, bound.target != nullptr ? bound.target->data() : bound.scalar, count, stream);
  }
  stream.synchronize();
  return plan;
}

void DevicePlanner::check(StreamView stream) const {
  State const& state = *state_;
  SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(state.error_host.data(), state.error.data(), sizeof(std::uint64_t),
                                      cudaMemcpyDeviceToHost, stream.handle()));
  stream.synchronize();
  std::uint64_t word = 0;
  std::memcpy(&word, state.error_host.data(), sizeof word);
  if (word == 0) return;
  throw_plan_error(word,
                   {state.skeleton.rank.value(), numbered_columns(state.config, state.columns), state.max_expert_rows});
}

void DevicePlanner::forget_error(StreamView stream) {
  fill_bytes(state_->error, 0, stream);
}

}  // namespace switchyard::cuda
