// SPDX-License-Identifier: Apache-2.0
/// ExecutorPair: one rank that runs the same call on CpuExecutor and on CudaExecutor and compares every byte.
#pragma once

#include <string>
#include <vector>

#include "executor_rows.hpp"
#include "poisoned.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/device_buffer.hpp"

namespace cross_backend {

/// Host operands of one combine.
template <typename T>
struct PairOperands {
  std::vector<float> expert_rows;  ///< f32 rows; cast to T when `narrow_rows`
  bool narrow_rows = false;
  std::vector<float> weights;
  std::vector<double> weights_f64;  ///< used when not empty or when `use_f64`
  bool use_f64 = false;
  std::vector<T> shared;  ///< empty: none
  bool use_shared = false;
};

class ExecutorPair {
 public:
  /// @param placement names the experts of the plan's slots in reports
  ExecutorPair(PairReport& report, std::string name, switchyard::DispatchPlan const& plan,
               switchyard::ExpertPlacement const& placement, switchyard::cuda::DevicePlanOptions const& options,
               switchyard::Communicator& comm, switchyard::cuda::DeviceCommunicator& device_comm)
      : report_(report),
        name_(std::move(name)),
        plan_(plan),
        experts_(options.experts),
        device_plan_(plan, options),
        cpu_(comm),
        gpu_(device_comm),
        row_names_(cpu_, plan, &placement) {}

  [[nodiscard]] switchyard::cpu::CpuExecutor& cpu() { return cpu_; }
  void rename(std::string name) { name_ = std::move(name); }

  template <typename T>
  std::vector<T> dispatch(std::vector<T> const& tokens, std::int64_t hidden) {
    using namespace switchyard;
    std::vector<T> expected(static_cast<std::size_t>(plan_.num_expert_rows() * hidden), poison<T>());
    cpu_.dispatch(plan_, host(tokens, plan_.num_tokens, hidden), host(expected, plan_.num_expert_rows(), hidden));
    auto const in = cuda::upload(tokens, stream_);
    auto const out = poisoned<T>(plan_.num_expert_rows() * hidden, stream_);
    gpu_.dispatch(device_plan_, device_matrix<T>(in, plan_.num_tokens, hidden),
                  device_matrix<T>(out, plan_.num_expert_rows(), hidden), stream_);
    compare_expert_rows(" dispatch", hidden, expected, cuda::download<T>(out, stream_));
    return expected;
  }

  template <typename T>
  void combine(switchyard::CombineRecipe const& recipe, switchyard::CombineRoute route, PairOperands<T> const& operands,
               std::int64_t hidden) {
    if (!operands.narrow_rows) return combine_rows<T, float>(recipe, route, operands, operands.expert_rows, hidden);
    combine_rows<T, T>(recipe, route, operands, narrowed_rows<T>(operands.expert_rows), hidden);
  }

  /// Both gradients. @param out_gradients [T, hidden]
  template <typename T>
  void backward(switchyard::CombineRecipe const& recipe, PairOperands<T> const& operands,
                std::vector<T> const& out_gradients, std::int64_t hidden) {
    using namespace switchyard;
    std::int64_t const rows = plan_.num_expert_rows();
    std::vector<T> token_gradients(out_gradients.size(), poison<T>());
    cpu_.dispatch_backward(plan_, recipe, host(operands.expert_rows, rows, hidden), experts_,
                           host(token_gradients, plan_.num_tokens, hidden));
    auto const results = cuda::upload(operands.expert_rows, stream_);
    auto const gpu_tokens = poisoned<T>(plan_.num_tokens * hidden, stream_);
    gpu_.dispatch_backward(device_plan_, recipe, device_matrix<float>(results, rows, hidden),
                           device_matrix<T>(gpu_tokens, plan_.num_tokens, hidden), stream_);
    compare(" dispatch_backward", hidden, token_gradients, cuda::download<T>(gpu_tokens, stream_));

    std::vector<T> row_gradients(static_cast<std::size_t>(rows * hidden), poison<T>());
    std::vector<float> weight_gradients(operands.weights.size(), -1.0F);
    cpu::CombineInputs inputs;
    inputs.weights = operands.weights;
    cpu_.combine_backward(plan_, host(out_gradients, plan_.num_tokens, hidden),
                          host(operands.expert_rows, rows, hidden), inputs, host(row_gradients, rows, hidden),
                          weight_gradients);
    auto const gradients = cuda::upload(out_gradients, stream_);
    auto const weights = cuda::upload(operands.weights, stream_);
    auto const gpu_rows = poisoned<T>(rows * hidden, stream_);
    auto const gpu_weights = poisoned<float>(plan_.num_tokens * plan_.slot_columns, stream_);
    cuda::CombineInputs device;
    device.weights = device_matrix<float>(weights, plan_.num_tokens, plan_.slot_columns);
    gpu_.combine_backward(device_plan_, device_matrix<T>(gradients, plan_.num_tokens, hidden),
                          device_matrix<float>(results, rows, hidden), device, device_matrix<T>(gpu_rows, rows, hidden),
                          device_matrix<float>(gpu_weights, plan_.num_tokens, plan_.slot_columns), stream_);
    compare_expert_rows(" row gradients", hidden, row_gradients, cuda::download<T>(gpu_rows, stream_));
    compare(" weight gradients", plan_.slot_columns, weight_gradients, cuda::download<float>(gpu_weights, stream_));
  }

 private:
  template <typename T>
  static switchyard::ConstTensorView host(std::vector<T> const& values, std::int64_t rows, std::int64_t columns) {
    return switchyard::ConstTensorView::matrix(std::span<T const>(values), rows, columns);
  }
  template <typename T>
  static switchyard::TensorView host(std::vector<T>& values, std::int64_t rows, std::int64_t columns) {
    return switchyard::TensorView::matrix(std::span(values), rows, columns);
  }
  template <typename T>
  static std::vector<T> narrowed_rows(std::vector<float> const& rows) {
    std::vector<T> result;
    for (float const value : rows) {
      if constexpr (std::is_same_v<T, float>) result.push_back(value);
      if constexpr (std::is_same_v<T, switchyard::bf16_t>) result.push_back(switchyard::to_bf16(value));
      if constexpr (std::is_same_v<T, switchyard::f16_t>) result.push_back(switchyard::to_f16(value));
    }
    return result;
  }

  template <typename T, typename Row>
  void combine_rows(switchyard::CombineRecipe const& recipe, switchyard::CombineRoute route,
                    PairOperands<T> const& operands, std::vector<Row> const& rows, std::int64_t hidden) {
    using namespace switchyard;
    std::int64_t const count = plan_.num_expert_rows();
    std::vector<T> expected(static_cast<std::size_t>(plan_.num_tokens * hidden), poison<T>());
    cpu::CombineInputs inputs;
    inputs.route = route;
    inputs.experts = experts_;
    if (operands.use_f64) {
      inputs.weights_f64 = std::span<double const>(operands.weights_f64);
    } else {
      inputs.weights = operands.weights;
    }
    if (operands.use_shared) inputs.shared_expert = host(operands.shared, plan_.num_tokens, hidden);
    cpu_.combine(plan_, recipe, host(rows, count, hidden), inputs, host(expected, plan_.num_tokens, hidden));

    auto const device_rows = cuda::upload(rows, stream_);
    auto const weights =
        operands.use_f64 ? cuda::upload(operands.weights_f64, stream_) : cuda::upload(operands.weights, stream_);
    auto const shared = cuda::upload(operands.shared, stream_);
    auto const out = poisoned<T>(plan_.num_tokens * hidden, stream_);
    cuda::CombineInputs device;
    device.route = route;
    device.weights = weights.view(operands.use_f64 ? DType::f64 : DType::f32, {plan_.num_tokens, plan_.slot_columns});
    if (operands.use_shared) device.shared_expert = device_matrix<T>(shared, plan_.num_tokens, hidden);
    gpu_.combine(device_plan_, recipe, device_matrix<Row>(device_rows, count, hidden), device,
                 device_matrix<T>(out, plan_.num_tokens, hidden), stream_);
    gpu_.check(stream_);
    compare(" combine", hidden, expected, cuda::download<T>(out, stream_));
  }

  template <typename T>
  void compare(char const* what, std::int64_t columns, std::vector<T> const& cpu, std::vector<T> const& gpu) {
    compare_bits(report_, name_ + what, plan_.rank.value(), columns, cpu, gpu);
  }
  template <typename T>
  void compare_expert_rows(char const* what, std::int64_t columns, std::vector<T> const& cpu,
                           std::vector<T> const& gpu) {
    compare_bits(report_, name_ + what, row_names_.rows(columns), cpu, gpu);
  }

  PairReport& report_;
  std::string name_;
  switchyard::DispatchPlan const& plan_;
  std::span<std::int32_t const> experts_;
  switchyard::cuda::Stream stream_;
  switchyard::cuda::DevicePlan device_plan_;
  switchyard::cpu::CpuExecutor cpu_;
  switchyard::cuda::CudaExecutor gpu_;
  ExpertRowNames row_names_;
};

}  // namespace cross_backend
