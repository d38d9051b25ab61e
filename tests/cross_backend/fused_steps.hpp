// SPDX-License-Identifier: Apache-2.0
/// Steps of the fused path with plans of the host, beside CpuExecutor and CudaExecutor: equal bytes, launched and
/// replayed; and a call that is not its peers'.
#pragma once

#include <string>
#include <vector>

#include "few_cases.hpp"
#include "fused_case.hpp"
#include "graph_replay.hpp"

namespace cross_backend {

/// Few short rows, several of which share a block, and more long rows than the device holds blocks.
struct FusedShape {
  int tokens;
  std::int64_t hidden;
};
constexpr FusedShape kFewRows{RecipeBatch{}.tokens, FusedCase::kHidden};
constexpr FusedShape kManyRows{2500, 2056};

inline cuda::FusedExecutor::Attempt fused_executor(cuda::NcclCommunicator& comm, FusedShape const& shape) {
  return cuda::FusedExecutor::create(comm, {shape.tokens * comm.size(), shape.hidden * 4, 16});
}

/// One rank's rows of one dtype.
template <typename T>
class FusedSteps {
 public:
  FusedSteps(PairReport& report, cuda::NcclCommunicator& comm, cuda::FusedExecutor& fused, FusedCase const& given,
             FusedShape const& shape)
      : report_(report),
        comm_(comm),
        fused_(fused),
        given_(given),
        hidden_(shape.hidden),
        tokens_(given.plan.num_tokens),
        rows_(given.plan.num_expert_rows()),
        plan_(fused.prepare(given.device_plan)),
        cpu_(comm),
        host_path_(comm),
        names_(cpu_, given.plan, &given.placement) {}

  /// The same bytes in a few steps, with two dispatches in a row among them.
  void compare(std::string const& name) {
    for (int step = 0; step < kSteps; ++step) {
      std::vector<T> tokens;
      for (std::int64_t i = 0; i < tokens_ * hidden_; ++i)
        tokens.push_back(
            support::narrowed<T>(static_cast<float>((i * 37 + step * 101 + comm_.rank().value() * 13) % 509) / 61.0F));
      std::string const text = name + " step " + std::to_string(step);
      auto const in = cuda::upload(tokens, stream_);
      expect(tokens);
      if (step == 0) compare_host_path(text, in);
      auto const there = poisoned<T>(rows_ * hidden_, stream_);
      auto const back = poisoned<T>(tokens_ * hidden_, stream_);
      run(step, device_matrix<T>(in, tokens_, hidden_), device_matrix<T>(there, rows_, hidden_),
          device_matrix<T>(back, tokens_, hidden_));
      fused_.check(stream_);
      compare_bits(report_, text + " dispatch", names_.rows(hidden_), expected_rows_,
                   cuda::download<T>(there, stream_));
      compare_bits(report_, text + " combine", comm_.rank().value(), hidden_, expected_,
                   cuda::download<T>(back, stream_));
    }
  }

 private:
  static constexpr int kSteps = 5;

  /// What the CPU makes of the tokens; experts hand on what they get.
  void expect(std::vector<T> const& tokens) {
    expected_rows_.assign(static_cast<std::size_t>(rows_ * hidden_), poison<T>());
    expected_.assign(tokens.size(), poison<T>());
    cpu_.dispatch(given_.plan, ConstTensorView::matrix(std::span<T const>(tokens), tokens_, hidden_),
                  TensorView::matrix(std::span(expected_rows_), rows_, hidden_));
    auto const weights = given_.host_weights();
    cpu_.combine(given_.plan, CombineRecipe::rank_partial(),
                 ConstTensorView::matrix(std::span<T const>(expected_rows_), rows_, hidden_), weights,
                 TensorView::matrix(std::span(expected_), tokens_, hidden_));
  }
  void compare_host_path(std::string const& name, cuda::DeviceBuffer const& in) {
    auto const there = poisoned<T>(rows_ * hidden_, stream_);
    auto const back = poisoned<T>(tokens_ * hidden_, stream_);
    cuda::CombineInputs inputs;
    inputs.weights = given_.weight_view();
    host_path_.dispatch(given_.device_plan, device_matrix<T>(in, tokens_, hidden_),
                        device_matrix<T>(there, rows_, hidden_), stream_);
    host_path_.combine(given_.device_plan, CombineRecipe::rank_partial(), device_matrix<T>(there, rows_, hidden_),
                       inputs, device_matrix<T>(back, tokens_, hidden_), stream_);
    comm_.wait(stream_);
    compare_bits(report_, name + " dispatch through NCCL", names_.rows(hidden_), expected_rows_,
                 cuda::download<T>(there, stream_));
    compare_bits(report_, name + " combine through NCCL", comm_.rank().value(), hidden_, expected_,
                 cuda::download<T>(back, stream_));
  }
  void run(int step, TensorView const& tokens, TensorView const& rows, TensorView const& out) {
    auto const run_step = [&] {
      for (int repeat = 0; repeat <= step % 2; ++repeat)
        fused_.dispatch(plan_, tokens, given_.weight_view(), rows, stream_);
      fused_.combine(plan_, rows, out, stream_);
    };
    if (step < 3) return run_step();
    if (!replay(stream_, 3, run_step))  // odd and even numbers of operations
      throw Error(ErrorCode::cuda, "a fused step could not be captured and replayed");
  }

  PairReport& report_;
  cuda::NcclCommunicator& comm_;
  cuda::FusedExecutor& fused_;
  FusedCase const& given_;
  std::int64_t hidden_;
  std::int64_t tokens_;
  std::int64_t rows_;
  cuda::FusedPlan plan_;
  cpu::CpuExecutor cpu_;
  cuda::CudaExecutor host_path_;
  ExpertRowNames names_;
  cuda::Stream stream_;
  std::vector<T> expected_rows_;
  std::vector<T> expected_;
};

template <typename T>
void compare_fused_as(PairReport& report, cuda::NcclCommunicator& comm, cuda::FusedExecutor& fused,
                      FusedCase const& given, FusedShape const& shape, std::string const& name) {
  FusedSteps<T>(report, comm, fused, given, shape).compare(name + " hidden " + std::to_string(shape.hidden));
  comm.barrier({.operation = "fused end"});
}

/// The fused path beside the CPU, and CudaExecutor over NCCL beside it.
inline void compare_fused(PairReport& report, cuda::NcclCommunicator& comm, FusedShape const& shape) {
  auto const attempt = fused_executor(comm, shape);
  if (!has_fused_path(comm, attempt)) return;
  for (auto const places : {FusedPlaces::contiguous, FusedPlaces::scattered}) {
    FusedCase const given(comm, shape.tokens, places);
    std::string const name = places == FusedPlaces::contiguous ? "fused" : "fused, scattered experts,";
    compare_fused_as<bf16_t>(report, comm, *attempt.executor, given, shape, name + " bf16");
    if (shape.tokens == kManyRows.tokens || takes_few_cases()) continue;
    compare_fused_as<float>(report, comm, *attempt.executor, given, shape, name + " f32");
    compare_fused_as<f16_t>(report, comm, *attempt.executor, given, shape, name + " f16");
  }
}

/// One rank combines where the others dispatch: every rank learns it before it has read a row, and again in the call
/// after, with outputs of zeros.
inline void refuse_other_call(PairReport& report, cuda::NcclCommunicator& comm) {
  FusedShape const& shape = kFewRows;
  auto const attempt = fused_executor(comm, shape);
  if (!has_fused_path(comm, attempt)) return;
  FusedCase const fused_case(comm, shape.tokens);
  cuda::FusedPlan fused_plan = attempt.executor->prepare(fused_case.device_plan);
  cuda::Stream const stream;
  std::int64_t const rows = fused_case.plan.num_expert_rows();
  cuda::DeviceBuffer const tokens(fused_case.plan.num_tokens * shape.hidden * 2);
  cuda::DeviceBuffer const expert_rows(rows * shape.hidden * 2);
  auto const token_view = tokens.view(DType::bf16, {fused_case.plan.num_tokens, shape.hidden});
  auto const row_view = expert_rows.view(DType::bf16, {rows, shape.hidden});
  for (int call = 0; call < 2; ++call) {
    cuda::fill_bytes(tokens, 0x5a, stream);
    cuda::fill_bytes(expert_rows, 0x5a, stream);
    bool const is_odd_one = comm.rank().value() == 0;
    if (is_odd_one)
      attempt.executor->combine(fused_plan, row_view, token_view, stream);
    else
      attempt.executor->dispatch(fused_plan, token_view, fused_case.weight_view(), row_view, stream);
    ErrorCode code = ErrorCode::invalid_argument;
    try {
      attempt.executor->check(stream);
    } catch (Error const& error) {
      code = error.code();
    }
    if (code != ErrorCode::desync) throw Error(ErrorCode::invalid_plan, "a fused call beside another was not refused");
    auto const out = cuda::download<bf16_t>(is_odd_one ? tokens : expert_rows, stream);
    compare_bits(report, "fused refused call", comm.rank().value(), shape.hidden, std::vector<bf16_t>(out.size()), out);
  }
  comm.barrier({.operation = "fused end"});
}

}  // namespace cross_backend
