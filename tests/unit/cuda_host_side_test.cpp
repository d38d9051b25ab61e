// SPDX-License-Identifier: Apache-2.0
// What the CUDA backend does on the host, over a runtime of host memory whose kernels do nothing: which path steps take
// and why, what ranks tell each other, and the NVTX ranges of calls.
//
// By hand: two ranks, Flex and rank_partial, planned on the device. There are no windows here, so fused is refused;
// slots hold 13 tokens of 128 bytes for either rank, so slots are taken. Rank 1 cannot allocate them: exact on both.
#include <doctest/doctest.h>

#include <array>
#include <chrono>
#include <string>
#include <vector>

#include "allocation_fault.hpp"
#include "support/error_text.hpp"
#include "support/nvtx_listener.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "switchyard/cuda/step_executor.hpp"
#include "switchyard/dispatch/flex_planner.hpp"

using namespace switchyard;  // NOLINT: test cases read like the library
using support::contains;

namespace {

bool const kListening = support::listen_to_ranges();  // before the first range

constexpr int kExperts = 8;

/// The ranges of a call on one rank, whatever becomes of it.
template <typename Call>
std::string ranges_of(Call const& call) {
  std::size_t const before = support::ranges_seen().size();
  try {
    call();
  } catch (Error const&) {
  }
  std::string seen = support::ranges_seen().substr(before);
  std::string const domain = "[switchyard]";
  return seen.rfind(domain, 0) == 0 ? seen.substr(domain.size()) : seen;
}

cuda::StepOptions flex_steps(int ranks) {
  cuda::StepOptions options;
  options.planner.grid = {1, ranks};
  options.planner.columns = 2;
  options.planner.max_tokens = 13;
  options.hidden = 64;
  options.setup_deadline = std::chrono::seconds(20);
  return options;
}

/// What one rank found.
struct Choice {
  std::string path;
  std::string reason;
  friend bool operator==(Choice const&, Choice const&) = default;
};

/// Makes the executor on every rank, options by rank. @return what ranks found, or their error's text as the reason
template <typename Options>
std::vector<Choice> choose(int ranks, Options const& options_of) {
  auto const scheduler = cpu::make_thread_scheduler();
  std::vector<Choice> choices(static_cast<std::size_t>(ranks));
  cpu::run_ranks(*scheduler, ranks, {}, [&](Communicator& comm) {
    Choice& mine = choices[comm.rank().index()];
    cuda::HostStagedCommunicator device_comm(comm);
    auto const placement = ExpertPlacement::contiguous(1, kExperts, ranks);
    try {
      cuda::StepExecutor const steps({comm, device_comm}, options_of(comm.rank().value()), placement, 0);
      mine = {std::string(to_string(steps.path())), steps.reason()};
    } catch (Error const& error) {
      mine = {"none", error.what()};
    }
  });
  return choices;
}

}  // namespace

TEST_CASE("one rank takes slots for plans of the device, exact splits for those of the host") {
  auto const device = choose(1, [](int) { return flex_steps(1); });
  CAPTURE(device[0].reason);
  CHECK(device[0].path == "slots");
  CHECK(contains(device[0].reason, "fused: the fused path joins 2 to 1024 ranks"));
  auto const host = choose(1, [](int) {
    auto options = flex_steps(1);
    options.planning = cuda::StepPlanning::host;
    return options;
  });
  CHECK(host[0].path == "exact");
  CHECK(contains(host[0].reason, "slots: plans come from the host"));
}

TEST_CASE("what is refused before windows are made") {
  auto const reason_of = [](auto const& change) {
    auto options = flex_steps(2);
    change(options);
    auto const choices = choose(2, [&](int) { return options; });
    CHECK(choices[0] == choices[1]);
    CHECK(choices[0].path == "slots");
    return choices[0].reason;
  };
  CHECK(
      contains(reason_of([](cuda::StepOptions& o) { o.recipe = CombineRecipe::exact(); }), "fused: only rank_partial"));
  CHECK(contains(reason_of([](cuda::StepOptions& o) { o.recipe = CombineRecipe::rank_partial(Rounding::f32); }),
                 "fused: only rank_partial"));
  CHECK(contains(reason_of([](cuda::StepOptions& o) { o.hidden = 3; }), "fused: rows are not a multiple of 16 bytes"));
  CHECK(contains(reason_of([](cuda::StepOptions& o) { o.planner.family = DispatchFamily::megatron_allgather; }),
                 "fused: only Flex plans without TP"));
}

TEST_CASE("a rank that cannot have slots leaves all ranks with exact splits") {
  auto const scheduler = cpu::make_thread_scheduler();
  std::array<Choice, 2> choices;
  cpu::run_ranks(*scheduler, 2, {}, [&](Communicator& comm) {
    cuda::HostStagedCommunicator device_comm(comm);
    auto options = flex_steps(2);
    options.recipe = CombineRecipe::source_slot_order();  // refused for fused without an allocation
    if (comm.rank().value() == 1) cuda::fail_allocation_after(0);
    cuda::StepExecutor const steps({comm, device_comm}, options, ExpertPlacement::contiguous(1, kExperts, 2), 0);
    choices[comm.rank().index()] = {std::string(to_string(steps.path())), steps.reason()};
  });
  CAPTURE(choices[0].reason);
  CHECK(choices[0] == choices[1]);
  CHECK(choices[0].path == "exact");
  CHECK(contains(choices[0].reason, "slots: rank 1: device memory of"));
}

TEST_CASE("a path asked for is taken or refused on all ranks; options that differ are named") {
  auto const forced = choose(2, [](int) {
    auto options = flex_steps(2);
    options.path = cuda::StepPath::exact;
    return options;
  });
  CHECK(forced[0] == Choice{"exact", ""});
  CHECK(forced[0] == forced[1]);
  auto const refused = choose(2, [](int) {
    auto options = flex_steps(2);
    options.planning = cuda::StepPlanning::host;
    options.path = cuda::StepPath::slots;
    return options;
  });
  CHECK(refused[1].path == "none");
  CHECK(contains(refused[1].reason, "unsupported: no path for the steps of rank 1: slots: plans come from the host"));
  auto const other = choose(2, [](int rank) {
    auto options = flex_steps(2);
    options.hidden = rank == 0 ? 64 : 128;
    return options;
  });
  CHECK(other[0] == other[1]);
  CHECK(contains(other[0].reason, "desync: ranks 0 and 1 make steps of other options"));
}

TEST_CASE("steps with plans of the host: sizes follow the plan, a bad plan of one rank is refused on all") {
  auto const scheduler = cpu::make_thread_scheduler();
  std::array<std::string, 2> texts;
  cpu::run_ranks(*scheduler, 2, {}, [&](Communicator& comm) {
    cuda::HostStagedCommunicator device_comm(comm);
    auto const placement = ExpertPlacement::contiguous(1, kExperts, 2);
    auto options = flex_steps(2);
    options.planning = cuda::StepPlanning::host;
    options.path = cuda::StepPath::exact;
    cuda::StepExecutor steps({comm, device_comm}, options, placement, 0);
    FlexConfig config;
    config.grid = {1, 2};
    auto const routing = RoutingMap::from_topk(2, kExperts, 2, {0, 4, 5, -1}, {1, 1, 1, 1});
    DispatchPlan const plan = plan_flex(comm, config, routing, placement, 0);
    cuda::Stream const stream;
    cuda::DeviceBuffer const weights(2 * 2 * 4);
    cuda::DeviceBuffer const tokens(2 * 64 * 2);
    cuda::DeviceBuffer const rows(plan.num_expert_rows() * 64 * 2);
    CHECK_THROWS_AS(
        steps.dispatch(tokens.view(DType::bf16, {2, 64}), rows.view(DType::bf16, {plan.num_expert_rows(), 64}), stream),
        Error);
    steps.plan(plan, weights.view(DType::f32, {2, 2}), stream);
    CHECK(steps.expert_rows() == plan.num_expert_rows());
    CHECK(*steps.counts().expert_rows == plan.num_expert_rows());
    CHECK(steps.counts().rows_per_expert[0] == plan.tokens_per_local_expert[0]);
    auto const row_view = rows.view(DType::bf16, {plan.num_expert_rows(), 64});
    steps.dispatch(tokens.view(DType::bf16, {2, 64}), row_view, stream);
    steps.combine(row_view, tokens.view(DType::bf16, {2, 64}), stream);
    steps.check(stream);
    DispatchPlan broken = plan;
    if (comm.rank().value() == 1) broken.num_tokens = 3;
    texts[comm.rank().index()] = support::error_text(ErrorCode::shape_mismatch, [&] {
      steps.plan(broken, weights.view(DType::f32, {2, 2}), stream);
    });
    CHECK(steps.expert_rows() == plan.num_expert_rows());
  });
  CHECK(texts[0] == texts[1]);
  CHECK(contains(texts[0], "rank 1: "));
}

TEST_CASE("ranges: quantisers and the planner's steps") {
  REQUIRE(kListening);
  cuda::Stream const stream;
  QuantSpec spec;
  cuda::DeviceBuffer const values(4 * 128 * 2);
  auto matrix = cuda::DeviceQuantizedMatrix::make(spec, 4, 128);
  CHECK(ranges_of([&] { cuda::quantize(spec, values.view(DType::bf16, {4, 128}), matrix, stream); }) == "+quantize;-");
  cuda::DeviceBuffer const floats(4 * 128 * 4);
  CHECK(ranges_of([&] { cuda::launch_dequantize(matrix.view(), floats.as<float>(), stream); }) == "+dequantize;-");

  auto const scheduler = cpu::make_thread_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [&](Communicator& comm) {
    cuda::HostStagedCommunicator device_comm(comm);
    auto const config = flex_steps(1).planner;
    cuda::DevicePlanner planner(config, RankId(0), ExpertPlacement::contiguous(1, kExperts, 1), 0);
    cuda::DeviceBuffer const ids(13 * 2 * 4);
    CHECK(ranges_of([&] {
            planner.assign({ids.as<std::int32_t const>(), nullptr, nullptr, 13}, stream);
          }) == "+plan assign;-");
    CHECK(ranges_of([&] { planner.exchange(device_comm, stream); }) == "+plan exchange;-");
    CHECK(ranges_of([&] { planner.plan(stream); }) == "+plan lists;-");
    CHECK(ranges_of([&] { planner.fingerprint(ids.as<std::uint64_t>(), stream); }) == "+plan fingerprint;-");
    CHECK(ranges_of([&] { static_cast<void>(planner.download(stream)); }) == "+plan download;-");
  });
}

TEST_CASE("ranges: the halves of a layer's prepare and finalize, with the executor's inside") {
  auto const scheduler = cpu::make_thread_scheduler();
  cpu::run_ranks(*scheduler, 1, {}, [&](Communicator& comm) {
    cuda::HostStagedCommunicator device_comm(comm);
    cuda::Stream const stream;
    PrepareOptions options;
    options.hidden = 8;
    auto const placement = ExpertPlacement::contiguous(1, kExperts, 1);
    auto const pair =
        cuda::make_prepare_finalize(PrepareKind::alltoall, {comm, device_comm}, placement, options, stream);
    auto const routing = RoutingMap::from_topk(2, kExperts, 1, {0, 4}, {1, 1});
    cuda::DeviceBuffer const tokens(2 * 8 * 2);
    PrepareInputs inputs;
    inputs.tokens = tokens.view(DType::bf16, {2, 8});
    inputs.routing = &routing;
    std::unique_ptr<PreparedBatch> batch;
    CHECK(ranges_of([&] { batch = pair->start_prepare(inputs); }) == "+start prepare;-");
    REQUIRE(batch != nullptr);
    cuda::DeviceBuffer const memory(pair->prepared_bytes(*batch));
    std::span<std::byte> const bytes(memory.as<std::byte>(), static_cast<std::size_t>(memory.size_bytes()));
    PreparedRows rows;
    auto const prepared = ranges_of([&] { rows = pair->finish_prepare(*batch, bytes); });
    CAPTURE(prepared);
    CHECK(prepared.rfind("+finish prepare;+dispatch;", 0) == 0);
    auto const finalized = ranges_of([&] {
      pair->start_finalize(*batch, {rows.rows}, TensorView(tokens.data(), DType::bf16, {2, 8}, MemorySpace::device));
    });
    CAPTURE(finalized);
    CHECK(finalized.rfind("+start finalize;+combine;", 0) == 0);
    CHECK(ranges_of([&] { pair->finish_finalize(*batch); }) == "+finish finalize;-");
  });
}

TEST_CASE("ranges: what NcclCommunicator's host calls are, also those that fail") {
  launch::ControlServer server{1, 0, "its token", {}};
  launch::ControlClient client{"127.0.0.1", server.port(), "its token", 0, 1, std::chrono::seconds(20)};
  cuda::NcclCommunicator comm(cuda::NcclHandle::borrow(nullptr), client);
  cuda::Stream const stream;
  std::array<std::byte, 4> bytes{};
  std::array<std::int64_t, 1> const sizes{4};
  CHECK(ranges_of([&] { comm.barrier(); }) == "+barrier;-");
  CHECK(ranges_of([&] { comm.exchange_on(stream, {}, {}); }) == "+device exchange;-");
  CHECK(ranges_of([&] { comm.all_gather_v(bytes, bytes, sizes); }) == "+all gather;-");
  CHECK(ranges_of([&] { comm.all_to_all_v(bytes, sizes, bytes, sizes); }) == "+all to all;-");
  CHECK(ranges_of([&] { comm.exchange({}, {}); }) == "+host exchange;-");
  CHECK(ranges_of([&] { comm.wait(stream); }) == "+wait;-");
}
