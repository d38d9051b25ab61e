// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/fused_executor.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "agreement.hpp"
#include "cuda_error.hpp"
#include "executor_state.hpp"
#include "fused_failure.hpp"
#include "fused_kernels.hpp"
#include "fused_lists.hpp"
#include "fused_plan_block.hpp"
#include "fused_window.hpp"
#include "nvtx_range.hpp"
#include "switchyard/hd/mix.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "system_probe.hpp"

namespace switchyard::cuda {
namespace {

constexpr std::int64_t kWordBytes = 16;
constexpr char kSetup[] = "fused setup";

enum class Phase : std::uint64_t { dispatch, combine, plan, plan_block };

/// Announcements travel in chunks that keep many blocks busy.
constexpr std::int64_t kChunkBytes = 4096;

std::int64_t aligned(std::int64_t bytes) {
  return checked_add(bytes, kWordBytes - 1) / kWordBytes * kWordBytes;
}

std::uint64_t digest_of(std::uint64_t plan, Phase phase, DType dtype, std::int64_t hidden) {
  std::uint64_t const call = static_cast<std::uint64_t>(hidden) << 16 | static_cast<std::uint64_t>(dtype) << 8 |
                             static_cast<std::uint64_t>(phase);
  return hd::fingerprint_word(1, call, static_cast<std::int64_t>(plan));
}

/// @param mine an id on rank 0
std::vector<std::byte> shared_id(Communicator& comm, std::vector<std::byte> const& mine) {
  constexpr std::int64_t kIdBytes = NCCL_UNIQUE_ID_BYTES;
  std::vector<std::byte> id(to_size(kIdBytes));
  std::vector<std::int64_t> sizes(to_size(comm.size()), 0);
  sizes.front() = kIdBytes;
  comm.all_gather_v(mine, id, sizes, {.operation = kSetup});
  return id;
}

}  // namespace

struct FusedExecutor::State {
  State(Communicator& comm, FusedOptions const& given)
      : options(given),
        rank(comm.rank()),
        world(comm.size()),
        progress(sizeof(FusedProgress) + kMostClaims * sizeof(unsigned) + (kMostClaims + 1) * sizeof(std::uint64_t)),
        progress_host(sizeof(FusedProgress)) {
    windows.rank = rank.value();
    windows.world = world;
    windows.weights_offset = aligned(options.max_row_bytes);
    windows.slot_bytes =
        checked_add(windows.weights_offset, aligned(checked_mul(options.max_slots, std::int64_t{sizeof(float)})));
    windows.capacity = options.max_tokens;
    std::int64_t const slots = checked_mul(world, options.max_tokens);
    windows.half_bytes = checked_mul(slots, windows.slot_bytes);
    windows.tags_offset = 2 * world * std::int64_t{sizeof(FusedSignal)};
    constexpr std::int64_t kBothHalves = 2 * std::int64_t{sizeof(std::uint64_t)};
    windows.words_offset = checked_add(windows.tags_offset, aligned(checked_mul(slots, kBothHalves)));
    windows.words = std::min(checked_mul(options.max_tokens, options.max_slots), kPlanBlockChoices);
    windows.slots_offset =
        checked_add(windows.words_offset, aligned(checked_mul(checked_mul(world, windows.words), kBothHalves)));
    windows.progress = progress.as<FusedProgress>();
    windows.claims = reinterpret_cast<unsigned*>(windows.progress + 1);
    windows.left = reinterpret_cast<std::uint64_t*>(windows.claims + kMostClaims);
    FusedProgress const start{kFirstGeneration, 0, 0, 0, 0, 0};
    std::vector<std::byte> bytes(to_size(progress.size_bytes()));
    std::memcpy(bytes.data(), &start, sizeof start);
    Stream const stream;
    copy_to_device(bytes, progress, stream);
    stream.view().synchronize();
  }

  /// What one rank does alone: a rank without memory keeps nobody waiting inside NCCL.
  void allocate() {
    window.emplace(world, checked_add(windows.slots_offset, checked_mul(windows.half_bytes, 2)), windows.slots_offset);
  }
  void open(NcclHandle handle) {
    window->open(std::move(handle), options.setup_deadline);
    windows.own = window->data();
    windows.peers = window->peers();
  }

  std::int64_t require_rows(char const* name, ConstTensorView const& view, std::int64_t rows) const {
    std::int64_t const hidden = require_matrix(name, view, rows, rank);
    require_row_dtype(view.dtype(), rank);
    std::int64_t const bytes = checked_mul(hidden, size_of(view.dtype()));
    SWITCHYARD_REQUIRE(bytes % kWordBytes == 0 && reinterpret_cast<std::uintptr_t>(view.data()) % kWordBytes == 0,
                       unsupported, "{} of rank {} must have rows and an address in multiples of {} bytes, got {}",
                       name, rank.value(), kWordBytes, bytes);
    SWITCHYARD_REQUIRE(bytes <= options.max_row_bytes, unsupported,
                       "{} of rank {} has rows of {} bytes, the windows were made for {}", name, rank.value(), bytes,
                       options.max_row_bytes);
    return hidden;
  }

  FusedCall call(FusedPlan::Lists const& lists, Phase phase, DType dtype, std::int64_t hidden) const {
    bool const is_back = phase == Phase::combine;
    auto const* const sent = is_back ? lists.received_rows : lists.sent_rows;
    auto const* const expected = is_back ? lists.sent_rows : lists.received_rows;
    auto const deadline = std::chrono::duration_cast<std::chrono::nanoseconds>(options.deadline).count();
    return {windows, digest_of(lists.digest, phase, dtype, hidden), sent, expected,
            static_cast<std::uint64_t>(deadline)};
  }

  FusedOptions options;
  RankId rank;
  int world;
  FusedWindows windows{};
  DeviceBuffer progress;
  PinnedBuffer progress_host;
  std::optional<FusedWindow> window;
};

FusedExecutor::FusedExecutor(std::unique_ptr<State> state) : state_(std::move(state)) {}
FusedExecutor::~FusedExecutor() = default;

FusedExecutor::Attempt FusedExecutor::create(Communicator& comm, FusedOptions const& options) {
  SWITCHYARD_REQUIRE(options.max_tokens > 0 && options.max_row_bytes > 0 && options.max_slots > 0, invalid_argument,
                     "a fused executor of {} tokens of {} bytes with {} slots holds nothing: give positive sizes",
                     options.max_tokens, options.max_row_bytes, options.max_slots);
  constexpr int kMostRanks = 1024;  // one thread of the meeting each
  if (comm.size() < 2 || comm.size() > kMostRanks) return {nullptr, "the fused path joins 2 to 1024 ranks"};
  std::unique_ptr<State> state;
  std::vector<std::byte> made;
  auto problem = try_together(comm, kSetup, [&] {
    require_device_code("a fused executor");
    load_fused_dispatch();
    load_fused_combine();
    load_fused_plan();
    load_fused_plan_block();
    state = std::make_unique<State>(comm, options);
    state->allocate();
    if (comm.rank().value() == 0) made = make_nccl_id();
  });
  if (problem) return {nullptr, problem->sentence()};
  auto const id = shared_id(comm, made);
  problem = try_together(comm, kSetup, [&] {
    state->open(NcclHandle::create(id, comm.rank().value(), comm.size(), options.setup_deadline));
  });
  if (problem) return {nullptr, problem->sentence()};
  return {std::unique_ptr<FusedExecutor>(new FusedExecutor(std::move(state))), {}};
}

std::string FusedExecutor::refusal(DispatchPlan const& plan) const {
  if (plan.rank != state_->rank || plan.setup.grid.world() != state_->world) return "the plan is for other ranks";
  if (plan.setup.family != DispatchFamily::megatron_flex || plan.setup.grid.tp != 1)
    return "only Flex plans without TP are fused";
  if (plan.stages.size() != 3 || plan.find<RowExchange>() == nullptr) return "the plan exchanges no rows";
  if (plan.num_tokens > state_->options.max_tokens) return "more tokens than the windows have slots for";
  if (plan.slot_columns > state_->options.max_slots) return "more weights of a token than the windows hold";
  auto const& expansion = std::get<RowGather>(plan.stages.back());
  if (expansion.rows_of_token.size() != expansion.token_of_row.size()) return "padded experts are not fused";
  return {};
}

FusedPlan FusedExecutor::prepare(DevicePlan const& plan) const {
  std::string const reason = refusal(plan.plan());
  SWITCHYARD_REQUIRE(reason.empty(), unsupported, "rank {}: {}; use CudaExecutor", state_->rank.value(), reason);
  return FusedPlan(std::make_unique<FusedPlan::Lists>(plan, state_->options.max_tokens));
}

FusedPlan FusedExecutor::prepare(DevicePlannerConfig const& config, ExpertPlacement const& placement, int layer) const {
  FusedOptions const& options = state_->options;
  bool const is_fused = config.family == DispatchFamily::megatron_flex && config.grid.tp == 1 && !config.capacity &&
                        config.form == RoutingForm::topk;
  SWITCHYARD_REQUIRE(is_fused && config.grid.ep == state_->world, unsupported,
                     "rank {} prepares steps of {} over tp {} x ep {}: only Flex without TP and capacity, from top-k "
                     "ids, over the {} ranks of the executor is fused",
                     state_->rank.value(), to_string(config.family), config.grid.tp, config.grid.ep, state_->world);
  SWITCHYARD_REQUIRE(config.max_tokens <= options.max_tokens && config.columns <= options.max_slots, unsupported,
                     "rank {} prepares steps of {} tokens with {} weights, the windows hold {} with {}",
                     state_->rank.value(), config.max_tokens, config.columns, options.max_tokens, options.max_slots);
  std::int64_t const chunk = std::min(kChunkBytes, options.max_row_bytes) / kWordBytes * kWordBytes;
  SWITCHYARD_REQUIRE(chunk > 0, unsupported, "windows of {} bytes per row cannot carry announcements",
                     options.max_row_bytes);
  return FusedPlan(std::make_unique<FusedPlan::Lists>(config, state_->windows, placement, layer, chunk));
}

void FusedExecutor::plan(FusedPlan& fused, DeviceRouting const& routing, StreamView stream) {
  NvtxRange const range("fused plan");
  FusedPlan::Lists& lists = *fused.lists_;
  SWITCHYARD_REQUIRE(lists.planner.has_value(), invalid_argument,
                     "rank {} plans a step with lists made from a plan of the host: prepare() with a planner's "
                     "configuration",
                     state_->rank.value());
  lists.num_tokens = routing.tokens;
  if (!lists.tables) {
    FusedCall const call = state_->call(lists, Phase::plan_block, DType::u8, lists.slot_columns);
    return launch_fused_plan_block(lists.block_params(call, routing), stream);
  }
  lists.planner->assign(routing, stream);
  FusedCall const call = state_->call(lists, Phase::plan, DType::u8, lists.tables->chunk_bytes);
  launch_fused_dispatch(lists.tables->params(call, *lists.planner), stream);
  lists.planner->plan(stream);
  launch_fused_plan(lists.plan_params(state_->windows), lists.num_remote + routing.tokens, stream);
}

void FusedExecutor::dispatch(FusedPlan& fused, ConstTensorView tokens, ConstTensorView weights, TensorView rows,
                             StreamView stream) {
  NvtxRange const range("fused dispatch");
  FusedPlan::Lists& lists = *fused.lists_;
  std::int64_t const hidden = state_->require_rows("tokens", tokens, lists.num_tokens);
  require_same_hidden(hidden, state_->require_rows("expert rows", rows, lists.expert_rows), state_->rank);
  SWITCHYARD_REQUIRE(tokens.dtype() == rows.dtype() && weights.dtype() == DType::f32 &&
                         require_matrix("weights", weights, lists.num_tokens, state_->rank) == lists.slot_columns,
                     shape_mismatch, "rank {} dispatches {} tokens with {} weights into {} rows", state_->rank.value(),
                     to_string(tokens.dtype()), to_string(weights.dtype()), to_string(rows.dtype()));
  FusedDispatchParams params{};
  params.call = state_->call(lists, Phase::dispatch, tokens.dtype(), hidden);
  params.tokens = tokens.data();
  params.row_bytes = hidden * size_of(tokens.dtype());
  params.num_tokens = lists.num_tokens;
  params.weights = static_cast<float const*>(weights.data());
  params.columns = lists.slot_columns;
  params.sent_begin = lists.sent_begin.as<std::int32_t const>();
  params.sent_to = lists.sent_to.as<std::int32_t const>();
  params.sent_slot = lists.sent_slot.as<std::int32_t const>();
  params.own_terms = lists.own_terms.as<FusedTerms const>();
  params.remote = lists.remote();
  params.places = lists.places.as<std::int32_t const>();
  params.term_column = lists.term_column.as<std::int32_t const>();
  params.num_places = lists.expert_rows;
  params.output = rows.data();
  params.term_weights = lists.term_weights.as<float>();
  launch_fused_dispatch(params, stream);
}

void FusedExecutor::combine(FusedPlan const& fused, ConstTensorView expert_rows, TensorView out, StreamView stream) {
  NvtxRange const range("fused combine");
  FusedPlan::Lists const& lists = *fused.lists_;
  std::int64_t const hidden = state_->require_rows("output tokens", out, lists.num_tokens);
  require_same_hidden(hidden, state_->require_rows("expert rows", expert_rows, lists.expert_rows), state_->rank);
  SWITCHYARD_REQUIRE(expert_rows.dtype() == out.dtype(), shape_mismatch, "rank {} combines {} rows into {} tokens",
                     state_->rank.value(), to_string(expert_rows.dtype()), to_string(out.dtype()));
  FusedCombineParams params{};
  params.call = state_->call(lists, Phase::combine, out.dtype(), hidden);
  params.dtype = out.dtype();
  params.rows = expert_rows.data();
  params.columns = hidden;
  params.places = lists.places.as<std::int32_t const>();
  params.term_weights = lists.term_weights.as<float const>();
  params.own_terms = lists.own_terms.as<FusedTerms const>();
  params.remote = lists.remote();
  params.return_slot = lists.return_slot.as<std::int32_t const>();
  params.join_begin = lists.join_begin.as<std::int32_t const>();
  params.join_slots = lists.join_slots.as<std::int32_t const>();
  params.num_tokens = lists.num_tokens;
  params.output = out.data();
  launch_fused_combine(params, stream);
}

void FusedExecutor::check(FusedPlan const& plan, StreamView stream) {
  if (plan.planner() != nullptr) plan.planner()->check(stream);
  check(stream);
}

void FusedExecutor::check(StreamView stream) {
  SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(state_->progress_host.data(), state_->windows.progress, sizeof(FusedProgress),
                                      cudaMemcpyDeviceToHost, stream.handle()));
  stream.synchronize();
  FusedProgress progress{};
  std::memcpy(&progress, state_->progress_host.data(), sizeof progress);
  if (progress.error != 0) throw_fused_failure(progress, state_->rank.value());
}

}  // namespace switchyard::cuda
