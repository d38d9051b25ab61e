// SPDX-License-Identifier: Apache-2.0
/// GroupedGemm: out[block] = rows[block] * matrix[expert]^T for all experts with rows, as one call of cuBLAS.
#pragma once

#include <cublas_v2.h>

#include <cstdint>
#include <span>
#include <vector>

#include "scratch.hpp"
#include "switchyard/experts/experts.hpp"

namespace switchyard::cuda {

/// One layer of all experts. Matrices are row-major and contiguous.
struct GroupedLayer {
  std::span<switchyard::RowBlock const> blocks{};  ///< [experts]
  DType dtype{};                                   ///< of all three operands
  void const* rows = nullptr;                      ///< [*, steps]
  void const* weights = nullptr;                   ///< [experts, columns, steps]
  void* out = nullptr;                             ///< [*, columns]
  std::int64_t steps = 0;
  std::int64_t columns = 0;
};

/// Owns cuBLAS's handle and the tables of one call.
class GroupedGemm {
 public:
  GroupedGemm();
  ~GroupedGemm();
  GroupedGemm(GroupedGemm const&) = delete;
  GroupedGemm& operator=(GroupedGemm const&) = delete;

  /// Issues the layer. The host tables are reused by the next call, which waits until the device has read them.
  void multiply(GroupedLayer const& layer, StreamView stream);

 private:
  void fill_tables(GroupedLayer const& layer);
  void upload_pointers(StreamView stream);

  cublasHandle_t handle_ = nullptr;
  std::vector<cublasOperation_t> transposed_{};
  std::vector<cublasOperation_t> plain_{};
  std::vector<std::int64_t> columns_{};  ///< one entry per group, as all below
  std::vector<std::int64_t> rows_{};
  std::vector<std::int64_t> steps_{};
  std::vector<std::int64_t> sizes_{};
  std::vector<float> ones_{};
  std::vector<float> zeros_{};
  std::vector<void const*> pointers_{};  ///< of all weights, then of all rows, then of all outputs
  DeviceScratch device_pointers_{};
};

}  // namespace switchyard::cuda
