// SPDX-License-Identifier: Apache-2.0
/// DrawnGroup: random routings of all ranks and the calling rank's plans of them; StepOperands: what a step moves.
#pragma once

#include <vector>

#include "rank_bench.hpp"
#include "switchyard/cuda/device_buffer.hpp"

namespace gpu_bench {

/// Every token of every rank chooses kTopK of kExperts experts at random, weights 1/8; experts lie contiguously.
class DrawnGroup {
 public:
  DrawnGroup(RankBench const& bench, std::int64_t tokens_per_rank);

  [[nodiscard]] switchyard::RoutingMap const& routing() const { return routings_[me_]; }
  [[nodiscard]] switchyard::ExpertPlacement const& placement() const { return placement_; }
  [[nodiscard]] switchyard::DispatchPlan flex_plan() const;
  [[nodiscard]] switchyard::DispatchPlan alltoall_plan() const;

 private:
  [[nodiscard]] switchyard::ExpertParallelGrid grid() const { return {1, static_cast<int>(routings_.size())}; }

  std::vector<switchyard::RoutingMap> routings_;
  switchyard::ExpertPlacement placement_;
  std::size_t me_;
};

/// One rank's tokens, expert rows and results, bf16 of kHidden columns, and weights of 1/8, in device memory.
class StepOperands {
 public:
  StepOperands(std::int64_t num_tokens, std::int64_t num_rows, switchyard::cuda::StreamView stream);

  [[nodiscard]] switchyard::TensorView tokens() const { return matrix(tokens_, num_tokens_); }
  [[nodiscard]] switchyard::TensorView rows() const { return matrix(rows_, num_rows_); }
  [[nodiscard]] switchyard::TensorView out() const { return matrix(out_, num_tokens_); }
  [[nodiscard]] switchyard::TensorView weights() const {
    return weights_.view(switchyard::DType::f32, {num_tokens_, kTopK});
  }

 private:
  static switchyard::TensorView matrix(switchyard::cuda::DeviceBuffer const& buffer, std::int64_t count) {
    return buffer.view(switchyard::DType::bf16, {count, kHidden});
  }

  std::int64_t num_tokens_;
  std::int64_t num_rows_;
  switchyard::cuda::DeviceBuffer tokens_;
  switchyard::cuda::DeviceBuffer rows_;
  switchyard::cuda::DeviceBuffer out_;
  switchyard::cuda::DeviceBuffer weights_;
};

}  // namespace gpu_bench
