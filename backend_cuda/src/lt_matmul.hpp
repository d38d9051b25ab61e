// SPDX-License-Identifier: Apache-2.0
/// LtMatmul: one product of two matrices by cublasLt; what suits a class of sizes is asked once and kept.
#pragma once

#include <compare>
#include <cstdint>
#include <map>

#include "expert_kernels.hpp"
#include "lt_library.hpp"
#include "switchyard/cuda/device_buffer.hpp"

namespace switchyard::cuda {

/// What scales of codes belong to; the product is multiplied by both sides' scales.
enum class ScaleSpan : std::uint8_t {
  none,    ///< operands are floats
  matrix,  ///< one float per operand
  line,    ///< one float per row of the left side, one per column of the result on the right side
  block,   ///< left: one per row and kScaleBlock steps, [blocks of steps, rows]; right: one per kScaleBlock columns and
           ///< kScaleBlock steps, [blocks of columns, blocks of steps], lines padded to kScalePadding floats
};
inline constexpr std::int64_t kScaleBlock = 128;
/// Floats; also what the rows of a product with blocks of scales are a multiple of.
inline constexpr std::int64_t kScalePadding = 4;

/// What a product is, apart from where its operands lie. Matrices are row-major and contiguous; ChainLines says how the
/// lines of both sides run, as for the exact engine's products.
struct MatmulShape {
  ChainLines lines = ChainLines::both_along;
  cudaDataType_t operands = CUDA_R_32F;
  cudaDataType_t result = CUDA_R_32F;
  ScaleSpan scales = ScaleSpan::none;
  std::int64_t rows = 0;  ///< of the result
  std::int64_t columns = 0;
  std::int64_t steps = 0;
  std::int32_t batch = 1;         ///< equal products, their operands evenly spaced; scales: none
  bool biased = false;            ///< a bias per column is added before the result is rounded
  std::uint32_t alignment = 256;  ///< of all addresses, bytes
  friend auto operator<=>(MatmulShape const&, MatmulShape const&) = default;
};

/// Device memory.
struct MatmulOperands {
  void const* left = nullptr;    ///< [rows, steps], or [steps, rows] across
  void const* right = nullptr;   ///< [columns, steps], or [steps, columns] across
  void* out = nullptr;           ///< [rows, columns]
  std::int64_t left_stride = 0;  ///< elements from one product of a batch to the next
  std::int64_t right_stride = 0;
  std::int64_t out_stride = 0;
  float const* left_scales = nullptr;  ///< at a multiple of 16 bytes, as right_scales
  float const* right_scales = nullptr;
  void const* bias = nullptr;  ///< [columns] of the result's type, when the shape is biased
  std::int64_t bias_stride = 0;
};

/// The largest power of two up to 256 that divides the addresses of matrices and bias and their distances in a batch.
[[nodiscard]] std::uint32_t alignment_of(MatmulOperands const& operands, std::int64_t operand_bytes,
                                         std::int64_t result_bytes) noexcept;

class LtMatmul {
 public:
  /// @throws Error{unsupported} without the library, Error{cuda}
  LtMatmul();
  ~LtMatmul();
  LtMatmul(LtMatmul const&) = delete;
  LtMatmul& operator=(LtMatmul const&) = delete;

  /// @throws Error{unsupported} when this GPU or version of cuBLAS has no such product
  void require_offered(MatmulShape const& shape, DeviceBuffer const& workspace);
  /// Issues the product; extents of zero are the caller's to handle. @param workspace unused by other work until this
  /// product is done; equally large in every call
  /// @throws as require_offered, Error{cuda}
  void multiply(MatmulShape const& shape, MatmulOperands const& operands, DeviceBuffer const& workspace,
                StreamView stream);

 private:
  cublasLtMatmulAlgo_t const& algorithm_of(MatmulShape const& shape, DeviceBuffer const& workspace);

  cublasLtHandle_t handle_ = nullptr;
  std::map<MatmulShape, cublasLtMatmulAlgo_t> chosen_{};  ///< by the largest sizes of each class
};

}  // namespace switchyard::cuda
