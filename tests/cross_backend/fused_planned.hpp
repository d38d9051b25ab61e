// SPDX-License-Identifier: Apache-2.0
/// Steps of the fused path that plan for themselves, beside CudaExecutor with core's plan of the same routing: equal
/// plans and equal bytes, launched and replayed after the routing changed; routing at fault fails all ranks.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "few_cases.hpp"
#include "fused_case.hpp"
#include "graph_replay.hpp"
#include "switchyard/dispatch/flex_planner.hpp"

namespace cross_backend {

/// 37 tokens, top-3 of 11 experts.
struct PlannedShape {
  static constexpr std::int64_t kTokens = 37;
  static constexpr std::int64_t kHidden = 64;
  static constexpr int kTopK = 3;
  static constexpr int kExperts = 11;

  cuda::PlanKernels kernels = cuda::PlanKernels::automatic;
  FusedPlaces places = FusedPlaces::contiguous;
  std::int64_t max_expert_rows = 0;  ///< 0: enough
};

/// One rank's side of planned steps.
template <typename T>
class PlannedSteps : PlannedShape {
 public:
  PlannedSteps(cuda::NcclCommunicator& comm, cuda::FusedExecutor& fused, PlannedShape const& shape)
      : PlannedShape(shape),
        comm_(comm),
        fused_(fused),
        placement_(places == FusedPlaces::contiguous ? ExpertPlacement::contiguous(1, kExperts, comm.size())
                                                     : scattered_experts(kExperts, comm.size())),
        plan_(fused.prepare(config(comm.size()), placement_, 0)),
        ids_(kTokens * kTopK * 4),
        weights_(kTokens * kTopK * 4),
        tokens_(kTokens * kHidden * kBytes),
        rows_(plan_.expert_rows() * kHidden * kBytes),
        out_(kTokens * kHidden * kBytes) {}

  /// Draws the routing and the tokens of a step and brings them to the device. @param bad_rank names an expert too many
  void draw(int step, int bad_rank = -1) {
    std::mt19937_64 random(static_cast<std::uint64_t>(1000 * step + comm_.rank().value()));
    std::vector<std::int32_t> ids;
    std::vector<float> weights;
    for (std::int64_t token = 0; token < kTokens; ++token) {
      auto const first = static_cast<std::int32_t>(random() % kExperts);
      for (std::int32_t k = 0; k < kTopK; ++k) {
        bool const drops = random() % 8 == 0;
        ids.push_back(drops ? -1 : (first + k) % kExperts);
        weights.push_back(drops ? 0.0F : static_cast<float>(1 + random() % 64) / 64.0F);
      }
    }
    routing_ = RoutingMap::from_topk(kTokens, kExperts, kTopK, ids, weights);
    if (comm_.rank().value() == bad_rank) ids[5] = kExperts;
    std::vector<T> tokens;
    for (std::int64_t i = 0; i < kTokens * kHidden; ++i)
      tokens.push_back(support::narrowed<T>(static_cast<float>(random() % 512) / 61.0F - 4.0F));
    cuda::copy_to_device(std::as_bytes(std::span(ids)), ids_, stream_);
    cuda::copy_to_device(std::as_bytes(std::span(weights)), weights_, stream_);
    cuda::copy_to_device(std::as_bytes(std::span(tokens)), tokens_, stream_);
    stream_.view().synchronize();
  }

  void step() {
    fused_.plan(plan_, {ids_.as<std::int32_t const>(), nullptr, weights_.as<float const>(), kTokens}, stream_);
    fused_.dispatch(plan_, tokens(), weights(), row_view(rows_, plan_.expert_rows()), stream_);
    fused_.combine(plan_, row_view(rows_, plan_.expert_rows()), row_view(out_, kTokens), stream_);
  }
  void poison() {
    cuda::fill_bytes(rows_, 0xa5, stream_);
    cuda::fill_bytes(out_, 0x5a, stream_);
  }

  void check() { fused_.check(plan_, stream_); }
  void compare(PairReport& report, std::string const& name) {
    check();
    FlexConfig flex;
    flex.grid = {1, comm_.size()};
    auto const plan = plan_flex(comm_, flex, routing_, placement_, 0);
    if (!(plan_.planner()->download(stream_) == plan))
      throw Error(ErrorCode::invalid_plan, name + ": the step's plan is not core's");
    cuda::DevicePlan const host_plan(plan);
    std::int64_t const count = plan.num_expert_rows();
    cuda::DeviceBuffer const rows(count * kHidden * kBytes);
    cuda::DeviceBuffer const out(kTokens * kHidden * kBytes);
    cuda::CombineInputs inputs;
    inputs.weights = weights();
    cuda::CudaExecutor host_path(comm_);
    host_path.dispatch(host_plan, tokens(), row_view(rows, count), stream_);
    host_path.combine(host_plan, CombineRecipe::rank_partial(), row_view(rows, count), inputs, row_view(out, kTokens),
                      stream_);
    comm_.wait(stream_);
    auto planned_rows = cuda::download<T>(rows_, stream_);
    planned_rows.resize(static_cast<std::size_t>(count * kHidden));
    cpu::CpuExecutor on_host(comm_);
    ExpertRowNames const names(on_host, plan, &placement_);
    compare_bits(report, name + " dispatch", names.rows(kHidden), cuda::download<T>(rows, stream_), planned_rows);
    compare_bits(report, name + " combine", comm_.rank().value(), kHidden, cuda::download<T>(out, stream_),
                 cuda::download<T>(out_, stream_));
  }

  /// @return what check() raises, with an output of zeros expected
  ErrorCode refused(PairReport& report, std::string const& name) {
    ErrorCode code = ErrorCode::internal;
    try {
      fused_.check(plan_, stream_);
    } catch (Error const& error) {
      code = error.code();
    }
    auto const out = cuda::download<T>(out_, stream_);
    compare_bits(report, name + " output", comm_.rank().value(), kHidden, std::vector<T>(out.size()), out);
    return code;
  }

  [[nodiscard]] cuda::StreamView stream() const { return stream_; }

 private:
  static constexpr std::int64_t kBytes = sizeof(T);

  [[nodiscard]] cuda::DevicePlannerConfig config(int ranks) const {
    cuda::DevicePlannerConfig config;
    config.family = DispatchFamily::megatron_flex;
    config.grid = {1, ranks};
    config.columns = kTopK;
    config.max_tokens = kTokens;
    config.max_expert_rows = max_expert_rows;
    config.kernels = kernels;
    return config;
  }
  static TensorView row_view(cuda::DeviceBuffer const& buffer, std::int64_t rows) {
    return buffer.view(dtype_of<T>::value, {rows, kHidden});
  }
  [[nodiscard]] TensorView tokens() const { return row_view(tokens_, kTokens); }
  [[nodiscard]] TensorView weights() const { return weights_.view(DType::f32, {kTokens, kTopK}); }

  cuda::NcclCommunicator& comm_;
  cuda::FusedExecutor& fused_;
  ExpertPlacement placement_;
  cuda::FusedPlan plan_;
  RoutingMap routing_;
  cuda::Stream stream_;
  cuda::DeviceBuffer ids_;
  cuda::DeviceBuffer weights_;
  cuda::DeviceBuffer tokens_;
  cuda::DeviceBuffer rows_;
  cuda::DeviceBuffer out_;
};

inline cuda::FusedOptions planned_options() {
  return {PlannedShape::kTokens, PlannedShape::kHidden * 4, PlannedShape::kTopK};
}
inline cuda::FusedExecutor::Attempt planned_executor(cuda::NcclCommunicator& comm) {
  return cuda::FusedExecutor::create(comm, planned_options());
}

constexpr cuda::PlanKernels kPlanKernels[] = {cuda::PlanKernels::automatic, cuda::PlanKernels::chain};
inline std::string name_of(cuda::PlanKernels kernels) {
  return kernels == cuda::PlanKernels::chain ? " by a chain of kernels " : " by one block ";
}

template <typename T>
void compare_planned_as(PairReport& report, cuda::NcclCommunicator& comm, cuda::FusedExecutor& fused,
                        PlannedShape const& shape, std::string const& base) {
  PlannedSteps<T> steps(comm, fused, shape);
  for (int step = 0; step < 3; ++step) {
    steps.draw(step);
    steps.poison();
    steps.step();
    steps.compare(report, base + std::to_string(step));
  }
  for (int step = 3; step < 5; ++step) {
    steps.draw(step);
    steps.poison();
    if (!replay(steps.stream(), step - 1, [&] { steps.step(); }))
      throw Error(ErrorCode::cuda, "a planned step could not be captured and replayed");
    steps.compare(report, base + "replayed " + std::to_string(step));
  }
  comm.barrier({.operation = "planned end"});
}

inline void compare_planned(PairReport& report, cuda::NcclCommunicator& comm) {
  auto const attempt = planned_executor(comm);
  if (!has_fused_path(comm, attempt)) return;
  for (auto const kernels : kPlanKernels)
    for (auto const places : {FusedPlaces::contiguous, FusedPlaces::scattered}) {
      std::string const name = std::string("planned step") + name_of(kernels) +
                               (places == FusedPlaces::scattered ? "of scattered experts " : "");
      PlannedShape const shape{kernels, places};
      compare_planned_as<bf16_t>(report, comm, *attempt.executor, shape, name + "bf16 ");
      if (takes_few_cases()) continue;
      compare_planned_as<float>(report, comm, *attempt.executor, shape, name + "f32 ");
      compare_planned_as<f16_t>(report, comm, *attempt.executor, shape, name + "f16 ");
    }
}

/// An id outside the model on rank 0, and a budget of one row: typed errors on every rank, outputs of zeros.
inline void refuse_planned(PairReport& report, cuda::NcclCommunicator& comm, cuda::PlanKernels kernels,
                           bool is_overflow) {
  auto const attempt = planned_executor(comm);
  if (!has_fused_path(comm, attempt)) return;
  PlannedSteps<bf16_t> steps(comm, *attempt.executor, {kernels, FusedPlaces::contiguous, is_overflow ? 1 : 0});
  steps.draw(7, is_overflow ? -1 : 0);
  steps.poison();
  steps.step();
  std::string const name = (is_overflow ? "planned overflow" : "planned bad id") + name_of(kernels);
  ErrorCode const code = steps.refused(report, name);
  ErrorCode const own = is_overflow ? ErrorCode::shape_mismatch : ErrorCode::invalid_argument;
  bool const is_at_fault = is_overflow || comm.rank().value() == 0;
  if (code != (is_at_fault ? own : ErrorCode::aborted))
    throw Error(ErrorCode::invalid_plan, name + " was answered with " + std::string(to_string(code)));
  comm.barrier({.operation = "planned refusal"});
}
inline void refuse_planned(PairReport& report, cuda::NcclCommunicator& comm) {
  if (takes_few_cases()) return refuse_planned(report, comm, cuda::PlanKernels::automatic, false);
  for (auto const kernels : kPlanKernels)
    for (bool const is_overflow : {false, true}) refuse_planned(report, comm, kernels, is_overflow);
}

}  // namespace cross_backend
