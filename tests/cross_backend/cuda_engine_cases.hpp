// SPDX-License-Identifier: Apache-2.0
/// EngineCase: operands of one call of the exact engine, on the host and on the device.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "row_report.hpp"
#include "support/expert_cases.hpp"
#include "switchyard/cuda/device_buffer.hpp"

namespace cross_backend {

namespace cuda = switchyard::cuda;
using support::ConstTensorView;
using support::DType;
using support::ExpertMlp;
using support::ExpertOperands;
using support::Matrix;
using support::TensorView;
using switchyard::RowBlock;
using switchyard::TensorShape;

/// A matrix on the device.
struct DeviceMatrix {
  DType dtype;
  TensorShape shape;
  cuda::DeviceBuffer buffer;

  DeviceMatrix(Matrix const& host, cuda::StreamView stream)
      : dtype(host.dtype), shape{host.rows(), host.columns}, buffer(cuda::upload(host.bytes, stream)) {}
  DeviceMatrix(DType type, std::int64_t rows, std::int64_t columns, cuda::StreamView stream)
      : dtype(type), shape{rows, columns}, buffer(rows * columns * switchyard::size_of(type)) {
    fill_bytes(buffer, 0xa5, stream);
  }
  [[nodiscard]] TensorView view() const { return buffer.view(dtype, shape); }
};

struct DeviceOperands {
  DeviceMatrix w1, w2, b1, b2;
  DeviceOperands(ExpertOperands const& host, cuda::StreamView stream)
      : w1(host.w1, stream), w2(host.w2, stream), b1(host.b1, stream), b2(host.b2, stream) {}
  [[nodiscard]] switchyard::ExpertWeights weights(bool biased) const {
    switchyard::ExpertWeights weights;
    weights.w1 = w1.view();
    weights.w2 = w2.view();
    if (biased) weights.b1 = b1.view();
    if (biased) weights.b2 = b2.view();
    return weights;
  }
};

inline switchyard::ExpertWeights host_weights(ExpertOperands const& w, bool biased) {
  switchyard::ExpertWeights weights;
  weights.w1 = w.w1.view();
  weights.w2 = w.w2.view();
  if (biased) weights.b1 = w.b1.view();
  if (biased) weights.b2 = w.b2.view();
  return weights;
}

struct EngineCase {
  std::string name;
  ExpertMlp mlp;
  std::vector<RowBlock> blocks;
  std::int64_t rows = 0;
  bool biased = true;
  bool row_weights = false;
};

/// One call's operands on both sides.
struct Operands {
  Operands(EngineCase const& c, std::mt19937_64& random)
      : whole(support::random_weights(random, whole_of(c.mlp))),
        part(c.mlp.tp.size == 1 ? whole : support::tp_slice(whole, whole_of(c.mlp), c.mlp)),
        rows(support::random_matrix(random, c.mlp.dtype, c.rows, c.mlp.hidden)) {
    std::uniform_real_distribution<float> weight(0.1f, 0.9f);
    if (c.row_weights)
      for (std::int64_t i = 0; i < c.rows; ++i) weights.push_back(weight(random));
  }
  static ExpertMlp whole_of(ExpertMlp mlp) {
    mlp.tp = {};
    return mlp;
  }
  ExpertOperands whole;
  ExpertOperands part;
  Matrix rows;
  std::vector<float> weights;
};

inline DType output_dtype(ExpertMlp const& mlp) {
  return mlp.tp.size == 1 ? mlp.dtype : DType::f32;
}

inline RowNames names_of(EngineCase const& c) {
  return {c.mlp.tp.rank, c.mlp.hidden, switchyard::size_of(output_dtype(c.mlp)), c.blocks};
}

inline ExpertMlp mlp_of(std::int64_t hidden, std::int64_t intermediate, int experts, DType dtype) {
  ExpertMlp mlp;
  mlp.hidden = hidden;
  mlp.intermediate = intermediate;
  mlp.num_local_experts = experts;
  mlp.dtype = dtype;
  mlp.rounding = switchyard::ExpertRounding::every_store(dtype);
  return mlp;
}

inline std::vector<RowBlock> const kStandard = {{0, 5}, {5, 0}, {5, 131}, {136, 3}};
inline std::vector<RowBlock> const kBatched = {{0, 5}, {40, 0}, {80, 40}, {120, 3}};
/// Enough rows for wide tiles (kernels/chain_kernel.cuh); the other two take flat ones.
inline std::vector<RowBlock> const kLong = {{0, 5}, {5, 0}, {5, 390}, {395, 3}};

/// How rows lie, in the order of the checks' names.
struct RowCase {
  char const* name;
  std::vector<RowBlock> const& blocks;
  std::int64_t rows;
};
inline RowCase const kRowCases[] = {{" standard", kStandard, 139}, {" batched", kBatched, 160}, {" long", kLong, 398}};

}  // namespace cross_backend
