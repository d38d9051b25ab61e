// SPDX-License-Identifier: Apache-2.0
// switchyard_nccl_layer: a whole layer (plan, dispatch, blocks of experts, exact experts, combine) as one graph,
// captured in global mode and replayed with other routings, on every path of StepExecutor that can be captured. Tokens
// have the CPU's bytes. One rank in one process, started as switchyard_nccl_ranks. Exit 0 when all is so, 1 when not,
// 77 without a GPU.
//
// By hand, blocks of experts with 2, 0 and 5 rows of at most 6: {0, 2}, {2, 0} and {2, 4}.
#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdio>

#include "bit_report.hpp"
#include "cuda_engine_cases.hpp"
#include "gpu_program.hpp"
#include "graph_replay.hpp"
#include "poisoned.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/experts.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"
#include "switchyard/cuda/step_executor.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/experts/workspace.hpp"
#include "switchyard/launch/control.hpp"
#include "switchyard/launch/launch_config.hpp"

namespace cross_backend {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header

constexpr std::int64_t kTokens = 24;
constexpr std::int64_t kHidden = 64;
constexpr int kTopK = 3;
constexpr int kExpertsPerRank = 4;

void check_blocks(BitReport& report, cuda::StreamView stream) {
  auto const blocks_of = [&](std::vector<std::int64_t> const& counts, std::int64_t most) {
    auto const on_device = cuda::upload(counts, stream);
    auto const blocks = poisoned<RowBlock>(static_cast<std::int64_t>(counts.size()), stream);
    cuda::launch_expert_blocks(on_device.as<std::int64_t const>(), static_cast<int>(counts.size()), most,
                               blocks.as<RowBlock>(), stream);
    return cuda::download<RowBlock>(blocks, stream);
  };
  report.compare("blocks cut to 6 rows", std::vector<RowBlock>{{0, 2}, {2, 0}, {2, 4}}, blocks_of({2, 0, 5}, 6));
  report.compare("blocks of counts that no plan has", std::vector<RowBlock>{{0, 0}, {0, 7}, {7, 0}},
                 blocks_of({-3, std::int64_t{1} << 62, std::int64_t{1} << 62}, 7));
  std::vector<std::int64_t> counts;
  std::int64_t total = 0;
  for (std::int64_t i = 0; i < 77; ++i) total += counts.emplace_back(i * 5 % 7);
  report.compare("blocks of 77 experts", standard_blocks(counts), blocks_of(counts, total));
}

ExpertMlp layer_mlp() {
  ExpertMlp mlp = mlp_of(kHidden, 32, kExpertsPerRank, DType::bf16);
  mlp.activation.layout = GateLayout::split;
  return mlp;
}

/// A function of seed and rank: distinct experts, one choice in six dropped.
RoutingMap drawn_routing(std::uint64_t seed, int rank, int experts) {
  std::mt19937_64 random(seed * 1009 + static_cast<std::uint64_t>(rank));
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  for (std::int64_t token = 0; token < kTokens; ++token) {
    auto const first = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(experts));
    for (int k = 0; k < kTopK; ++k) {
      ids.push_back(random() % 6 == 0 ? -1 : (first + k) % experts);
      weights.push_back(0.01F + static_cast<float>(random() % 1000) / 997.0F);
    }
  }
  return RoutingMap::from_topk(kTokens, experts, kTopK, std::move(ids), std::move(weights));
}

/// One rank's layer: operands that stay where they are, and the path that moves rows.
class CapturedLayer {
 public:
  CapturedLayer(Communicator& comm, cuda::DeviceCommunicator& device, cuda::StepPath path, cuda::StreamView stream)
      : comm_(comm),
        stream_(stream),
        placement_(ExpertPlacement::contiguous(1, kExpertsPerRank * comm.size(), comm.size())),
        step_({comm, device}, options_of(comm.size(), path), placement_, 0),
        random_(3 + static_cast<std::uint64_t>(comm.rank().value())),
        host_(support::random_weights(random_, mlp_)),
        tokens_(support::random_matrix(random_, DType::bf16, kTokens, kHidden)),
        on_device_(host_, stream),
        weights_(mlp_, on_device_.weights(true), stream),
        in_(tokens_, stream),
        ids_(poisoned<std::int32_t>(kTokens * kTopK, stream)),
        shares_(poisoned<float>(kTokens * kTopK, stream)),
        rows_(poisoned<bf16_t>(step_.expert_rows() * kHidden, stream)),
        out_(poisoned<bf16_t>(kTokens * kHidden, stream)),
        blocks_(kExpertsPerRank * static_cast<std::int64_t>(sizeof(RowBlock))),
        workspace_(experts_.workspace_bytes(step_.expert_rows())) {}

  void take(RoutingMap const& routing) {
    copy_to_device(std::as_bytes(routing.ids()), ids_, stream_);
    copy_to_device(std::as_bytes(routing.weights()), shares_, stream_);
    stream_.synchronize();
  }
  void issue() {
    step_.plan({ids_.as<std::int32_t const>(), nullptr, shares_.as<float const>(), kTokens}, stream_);
    step_.dispatch(in_.view(), row_view(), stream_);
    cuda::launch_expert_blocks(step_.counts().rows_per_expert, kExpertsPerRank, step_.expert_rows(),
                               blocks_.as<RowBlock>(), stream_);
    cuda::DeviceExpertCall call;
    call.rows = row_view();
    call.blocks = blocks_.as<RowBlock const>();
    call.total_rows = step_.expert_rows();
    call.weights = &weights_;
    call.output = row_view();
    experts_.apply(call, {workspace_.as<std::byte>(), static_cast<std::size_t>(workspace_.size_bytes())}, stream_);
    step_.combine(row_view(), out_.view(DType::bf16, {kTokens, kHidden}), stream_);
  }
  void check() { step_.check(stream_); }
  [[nodiscard]] bool capturable() const { return step_.capturable(); }
  [[nodiscard]] std::vector<std::byte> result() {
    auto bytes = cuda::download<std::byte>(out_, stream_);
    fill_bytes(out_, kPoisonByte, stream_);
    return bytes;
  }

  /// The same by the CPU. Collective.
  [[nodiscard]] std::vector<std::byte> expected(RoutingMap const& routing) {
    FlexConfig config;
    config.grid = {1, comm_.size()};
    DispatchPlan const plan = plan_flex(comm_, config, routing, placement_, 0);
    std::int64_t const count = plan.num_expert_rows();
    auto rows = support::poison(static_cast<std::size_t>(count * kHidden * 2));
    auto out = support::poison(static_cast<std::size_t>(kTokens * kHidden * 2));
    TensorView const row_view(rows.data(), DType::bf16, {count, kHidden});
    cpu::CpuExecutor executor(comm_);
    executor.dispatch(plan, tokens_.view(), row_view);
    ExpertCall call;
    auto const blocks = standard_blocks(plan.tokens_per_local_expert);
    call.rows = row_view;
    call.blocks = blocks;
    call.weights = host_weights(host_, true);
    call.output = row_view;
    cpu::ExactExperts const experts(mlp_);
    WorkspaceMemory memory;
    experts.apply(call, memory.reserve(experts.workspace_bytes(count)));
    cpu::CombineInputs inputs;
    inputs.weights = routing.weights();
    executor.combine(plan, CombineRecipe::rank_partial(), row_view, inputs,
                     TensorView(out.data(), DType::bf16, {kTokens, kHidden}));
    return out;
  }

 private:
  static cuda::StepOptions options_of(int ranks, cuda::StepPath path) {
    cuda::StepOptions options;
    options.planner.grid = {1, ranks};
    options.planner.columns = kTopK;
    options.planner.max_tokens = kTokens;
    options.planner.max_expert_rows = kTokens * kTopK * ranks;
    options.hidden = kHidden;
    options.path = path;
    return options;
  }
  [[nodiscard]] TensorView row_view() const { return rows_.view(DType::bf16, {step_.expert_rows(), kHidden}); }

  Communicator& comm_;
  cuda::StreamView stream_;
  ExpertMlp mlp_ = layer_mlp();
  ExpertPlacement placement_;
  cuda::StepExecutor step_;
  std::mt19937_64 random_;
  ExpertOperands host_;
  Matrix tokens_;
  DeviceOperands on_device_;
  cuda::ExactExperts experts_{mlp_};
  cuda::DeviceExpertWeights weights_;
  DeviceMatrix in_;
  cuda::DeviceBuffer ids_, shares_, rows_, out_, blocks_, workspace_;
};

void check_path(BitReport& report, Communicator& comm, cuda::DeviceCommunicator& unchecked, cuda::StepPath path) {
  cuda::Stream const stream;
  CapturedLayer layer(comm, unchecked, path, stream);
  std::string const name = "layer as a graph, path " + std::string(to_string(path));
  auto const routing_of = [&](std::uint64_t seed) {
    return drawn_routing(seed, comm.rank().value(), kExpertsPerRank * comm.size());
  };
  RoutingMap const first = routing_of(1);
  auto const expected = layer.expected(first);
  layer.take(first);
  layer.issue();
  layer.check();
  report.compare(name + ", launched", expected, layer.result());
  report.state(layer.capturable(), name + ": can be captured");
  comm.barrier({.operation = "before capture"});
  CapturedStep const captured(stream, [&] { layer.issue(); });
  for (std::uint64_t seed = 2; seed < 6; ++seed) {
    RoutingMap const routing = routing_of(seed);
    auto const wanted = layer.expected(routing);
    layer.take(routing);
    captured.launch();
    layer.check();
    report.compare(name + ", replay with routing " + std::to_string(seed), wanted, layer.result());
  }
  comm.barrier({.operation = "after replays"});
}

int run_rank() {
  auto const config = launch::launch_config({}, launch::launch_environment());
  if (cudaSetDevice(config.local_rank % cuda::device_count()) != cudaSuccess)
    throw Error(ErrorCode::cuda, "the device of this rank cannot be used");
  auto group = launch::join_group(config, cuda::make_nccl_id, std::chrono::seconds(60));
  auto handle =
      cuda::NcclHandle::create(group.client->blob(), config.rank, config.world_size, std::chrono::seconds(60));
  cuda::NcclOptions off;
  off.check = CheckLevel::off;
  cuda::NcclCommunicator unchecked(handle.share(), *group.client, off);
  cuda::NcclCommunicator comm(std::move(handle), *group.client, {});
  BitReport report;
  try {
    check_blocks(report, cuda::Stream());
    check_path(report, comm, unchecked, cuda::StepPath::slots);
    try {
      check_path(report, comm, unchecked, cuda::StepPath::fused);
    } catch (Error const& error) {
      if (error.code() != ErrorCode::unsupported) throw;
      std::printf("passed over: %s\n", error.what());
    }
  } catch (std::exception const& error) {
    comm.fail(error.what());
    throw;
  }
  std::printf("rank %d of %d: %d checks, %d failed\n", config.rank, config.world_size, report.checks(),
              report.failures());
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_rank);
}
