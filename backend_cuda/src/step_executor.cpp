// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/step_executor.hpp"

#include <utility>
#include <vector>

#include "agreement.hpp"
#include "executor_state.hpp"
#include "step_route.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

/// Of all that ranks must pass equally.
Fingerprint digest_of(StepOptions const& options, ExpertPlacement const& placement, int layer) {
  DevicePlannerConfig const& planner = options.planner;
  FingerprintBuilder digest;
  std::int64_t const numbers[] = {layer,
                                  static_cast<std::int64_t>(planner.family),
                                  planner.grid.tp,
                                  planner.grid.ep,
                                  static_cast<std::int64_t>(planner.row_order),
                                  static_cast<std::int64_t>(planner.restore),
                                  static_cast<std::int64_t>(planner.replica_rule),
                                  static_cast<std::int64_t>(planner.selection),
                                  static_cast<std::int64_t>(planner.form),
                                  planner.columns,
                                  planner.max_tokens,
                                  planner.capacity.has_value() ? 1 : 0,
                                  planner.max_expert_rows,
                                  static_cast<std::int64_t>(options.planning),
                                  static_cast<std::int64_t>(options.route),
                                  static_cast<std::int64_t>(options.dtype),
                                  options.hidden,
                                  options.carried_rows,
                                  options.single_rows,
                                  options.exact_splits ? 1 : 0,
                                  options.path ? static_cast<std::int64_t>(*options.path) : -1,
                                  static_cast<std::int64_t>(placement.fingerprint().value)};
  digest.add(1, std::span(numbers));
  digest.add(2, to_string(options.recipe));
  return digest.result();
}

void require_equal_options(Communicator& comm, StepOptions const& options, ExpertPlacement const& placement,
                           int layer) {
  auto const mine = static_cast<std::int64_t>(digest_of(options, placement, layer).value);
  CallOptions call;
  call.operation = "step setup";
  auto const all = all_gather_i64(comm, std::span(&mine, 1), call);
  for (std::size_t rank = 1; rank < all.size(); ++rank)
    SWITCHYARD_REQUIRE(all[rank] == all.front(), desync,
                       "ranks 0 and {} make steps of other options, placements or layers: digests {:016x} and {:016x}",
                       rank, static_cast<std::uint64_t>(all.front()), static_cast<std::uint64_t>(all[rank]));
}

void require_sound(Communicator const& comm, StepOptions const& options) {
  int const world = options.planner.grid.world();
  SWITCHYARD_REQUIRE(world == comm.size(), invalid_argument, "steps over tp {} x ep {} for a group of {} ranks",
                     options.planner.grid.tp, options.planner.grid.ep, comm.size());
  SWITCHYARD_REQUIRE(options.hidden > 0 && options.planner.columns > 0 && options.planner.max_tokens > 0,
                     invalid_argument, "steps of {} tokens with {} choices and hidden size {}: give positive sizes",
                     options.planner.max_tokens, options.planner.columns, options.hidden);
  require_row_dtype(options.dtype, comm.rank());
}

constexpr StepPath kBestFirst[] = {StepPath::fused, StepPath::slots, StepPath::exact};

RouteAttempt try_route(StepPath path, StepSetup const& setup) {
  if (path == StepPath::fused) return try_fused_route(setup);
  return path == StepPath::slots ? try_slot_route(setup) : try_exact_route(setup);
}

}  // namespace

std::string_view to_string(StepPath path) noexcept {
  constexpr std::string_view kNames[] = {"fused", "slots", "exact"};
  return kNames[static_cast<int>(path)];
}

PlacedPlan::PlacedPlan(DispatchPlan plan, ConstTensorView step_weights, std::span<std::int32_t const> experts)
    : lists(std::move(plan), {ReceiveLayout::blocks, experts}), weights(std::move(step_weights)) {
  std::vector<std::int64_t> numbers{lists.plan().num_expert_rows()};
  auto const& rows = lists.plan().tokens_per_local_expert;
  numbers.insert(numbers.end(), rows.begin(), rows.end());
  counts = upload(numbers, Stream());
}

StepCounts PlacedPlan::where() const {
  return {counts.as<std::int64_t const>(), counts.as<std::int64_t const>() + 1};
}

ConstTensorView step_weights(DeviceRouting const& routing, float const* kept, std::int64_t columns) {
  return {kept != nullptr ? kept : routing.weights, DType::f32, {routing.tokens, columns}, MemorySpace::device};
}

StepCounts counts_of(DevicePlanner const& planner) noexcept {
  return {&planner.lists().numbers->expert_rows, planner.lists().tokens_per_local_expert};
}

CombineInputs step_inputs(StepOptions const& options, ConstTensorView const& weights, StepExtras const& extras) {
  return {weights, extras.shared_expert, extras.join_bias, options.route};
}

ConstTensorView first_rows(ConstTensorView const& matrix, std::int64_t have, std::int64_t count) {
  SWITCHYARD_REQUIRE(matrix.shape().rank() == 2 && matrix.extent(0) == have && count <= have, shape_mismatch,
                     "expert rows of a step must be a matrix of {} rows, got {} dimensions and {} rows", have,
                     matrix.shape().rank(), matrix.shape().rank() > 0 ? matrix.extent(0) : 0);
  return {matrix.data(), matrix.dtype(), {count, matrix.extent(1)}, matrix.space()};
}

TensorView first_rows(TensorView const& matrix, std::int64_t have, std::int64_t count) {
  ConstTensorView const first = first_rows(ConstTensorView(matrix), have, count);
  return {matrix.data(), first.dtype(), first.shape(), first.space()};
}

struct StepExecutor::State {
  State(Group ranks, StepOptions const& given) : group(ranks), options(given) {}

  void choose(ExpertPlacement const& placement, int layer) {
    StepSetup const setup{group, options, placement, layer};
    for (StepPath const candidate : kBestFirst) {
      if (options.path.value_or(candidate) != candidate) continue;
      RouteAttempt attempt = try_route(candidate, setup);
      route = std::move(attempt.route);
      path = candidate;
      if (route != nullptr) return;
      reason += (reason.empty() ? "" : "; ") + std::string(to_string(candidate)) + ": " + attempt.reason;
    }
    SWITCHYARD_REQUIRE(false, unsupported, "no path for the steps of rank {}: {}", group.host.rank().value(), reason);
  }
  void require_plan() const {
    SWITCHYARD_REQUIRE(planned, invalid_argument, "rank {} runs a step before any plan: call plan() first",
                       group.host.rank().value());
  }
  void require_planning(StepPlanning wanted) const {
    SWITCHYARD_REQUIRE(options.planning == wanted, invalid_argument,
                       "rank {} plans on the {}, but StepOptions::planning says otherwise", group.host.rank().value(),
                       wanted == StepPlanning::device ? "device" : "host");
  }

  Group group;
  StepOptions options;
  std::unique_ptr<StepRoute> route;
  StepPath path = StepPath::exact;
  std::string reason;
  bool planned = false;
};

StepExecutor::StepExecutor(Group group, StepOptions const& options, ExpertPlacement const& placement, int layer)
    : state_(std::make_unique<State>(group, options)) {
  require_equal_options(group.host, options, placement, layer);
  require_sound(group.host, options);
  state_->choose(placement, layer);
}
StepExecutor::~StepExecutor() = default;
StepExecutor::StepExecutor(StepExecutor&&) noexcept = default;
StepExecutor& StepExecutor::operator=(StepExecutor&&) noexcept = default;

StepPath StepExecutor::path() const noexcept {
  return state_->path;
}
std::string const& StepExecutor::reason() const noexcept {
  return state_->reason;
}
bool StepExecutor::capturable() const noexcept {
  return state_->path == StepPath::fused || (state_->path == StepPath::slots && !state_->options.exact_splits);
}

void StepExecutor::plan(DeviceRouting const& routing, StreamView stream) {
  state_->require_planning(StepPlanning::device);
  SWITCHYARD_REQUIRE(routing.weights != nullptr || routing.tokens == 0, invalid_argument,
                     "rank {} plans a step of {} tokens without weights", state_->group.host.rank().value(),
                     routing.tokens);
  state_->route->plan(routing, stream);
  state_->planned = true;
}

void StepExecutor::plan(DispatchPlan plan, ConstTensorView weights, StreamView stream,
                        std::span<std::int32_t const> experts) {
  state_->require_planning(StepPlanning::host);
  std::unique_ptr<PlacedPlan> placed;
  auto const problem = try_together(state_->group.host, "step plan", [&] {
    require_weights(plan, weights);
    placed = std::make_unique<PlacedPlan>(std::move(plan), weights, experts);
    state_->route->prepare(*placed);
  });
  if (problem) problem->raise();
  state_->group.device.wait(stream);
  state_->route->adopt(std::move(placed));
  state_->planned = true;
}

std::int64_t StepExecutor::expert_rows() const noexcept {
  return state_->route->expert_rows();
}
StepCounts StepExecutor::counts() const noexcept {
  return state_->route->counts();
}

void StepExecutor::dispatch(ConstTensorView tokens, TensorView rows, StreamView stream) {
  state_->require_plan();
  state_->route->dispatch(tokens, rows, stream);
}

void StepExecutor::combine(ConstTensorView expert_rows, TensorView out, StreamView stream, StepExtras const& extras) {
  state_->require_plan();
  state_->route->combine(expert_rows, out, extras, stream);
}

void StepExecutor::check(StreamView stream) {
  state_->route->check(stream);
}

}  // namespace switchyard::cuda
