// SPDX-License-Identifier: Apache-2.0
/// ExecutorPair: one rank that runs the same call on CpuExecutor and on CudaExecutor and compares every byte.
#pragma once

#include <cstdio>
#include <mutex>
#include <string>
#include <vector>

#include "poisoned.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/device_buffer.hpp"

namespace cross_backend {

/// Counts comparisons of all ranks of all cases; prints the first differences.
class PairReport {
 public:
  void compared(std::size_t values) {
    std::lock_guard const lock(mutex_);
    ++comparisons_;
    values_ += values;
  }
  void failed(std::string const& text) {
    std::lock_guard const lock(mutex_);
    if (++failures_ <= kShown) std::printf("FAILED %s\n", text.c_str());
  }
  [[nodiscard]] int failures() const { return failures_; }
  [[nodiscard]] long comparisons() const { return comparisons_; }
  [[nodiscard]] std::size_t values() const { return values_; }

 private:
  static constexpr int kShown = 40;
  std::mutex mutex_;
  int failures_ = 0;
  long comparisons_ = 0;
  std::size_t values_ = 0;
};

/// Compares matrices of `columns` columns as bits and names rank, row and element of the first difference.
template <typename T>
void compare_bits(PairReport& report, std::string const& what, int rank, std::int64_t columns,
                  std::vector<T> const& cpu, std::vector<T> const& gpu) {
  report.compared(cpu.size());
  if (cpu.size() != gpu.size())
    return report.failed(what + ": rank " + std::to_string(rank) + " has " + std::to_string(cpu.size()) +
                         " values on the CPU, " + std::to_string(gpu.size()) + " on the GPU");
  std::size_t differing = 0;
  std::size_t first = 0;
  for (std::size_t i = 0; i < cpu.size(); ++i)
    if (std::memcmp(&cpu[i], &gpu[i], sizeof(T)) != 0 && differing++ == 0) first = i;
  if (differing == 0) return;
  unsigned long long bits[2] = {};
  std::memcpy(&bits[0], &cpu[first], sizeof(T));
  std::memcpy(&bits[1], &gpu[first], sizeof(T));
  char text[160];
  auto const width = static_cast<std::size_t>(columns < 1 ? 1 : columns);
  std::snprintf(text, sizeof text, ": rank %d, row %zu, element %zu: CPU 0x%llx, GPU 0x%llx; %zu of %zu differ", rank,
                first / width, first % width, bits[0], bits[1], differing, cpu.size());
  report.failed(what + text);
}

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
  ExecutorPair(PairReport& report, std::string name, switchyard::DispatchPlan const& plan,
               switchyard::cuda::DevicePlanOptions const& options, switchyard::Communicator& comm,
               switchyard::cuda::DeviceCommunicator& device_comm)
      : report_(report),
        name_(std::move(name)),
        plan_(plan),
        experts_(options.experts),
        device_plan_(plan, options),
        cpu_(comm),
        gpu_(device_comm) {}

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
    compare(" dispatch", hidden, expected, cuda::download<T>(out, stream_));
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
    compare(" row gradients", hidden, row_gradients, cuda::download<T>(gpu_rows, stream_));
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

  PairReport& report_;
  std::string name_;
  switchyard::DispatchPlan const& plan_;
  std::span<std::int32_t const> experts_;
  switchyard::cuda::Stream stream_;
  switchyard::cuda::DevicePlan device_plan_;
  switchyard::cpu::CpuExecutor cpu_;
  switchyard::cuda::CudaExecutor gpu_;
};

}  // namespace cross_backend
