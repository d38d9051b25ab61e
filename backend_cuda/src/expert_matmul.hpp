// SPDX-License-Identifier: Apache-2.0
/// ExpertMatmul: one product per expert with rows. Experts with equally few rows at even distances are one batch; the
/// others are issued over side streams, so that small ones share the GPU.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "lt_matmul.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/experts/experts.hpp"

namespace switchyard::cuda {

/// Operands of all experts, device memory: what an expert takes of a matrix is its rows, or a matrix of its own.
struct ExpertProducts {
  std::span<switchyard::RowBlock const> blocks{};  ///< [experts]
  ChainLines lines = ChainLines::both_along;       ///< both_across: sums over an expert's rows
  cudaDataType_t operands = CUDA_R_32F;
  cudaDataType_t result = CUDA_R_32F;
  std::int64_t rows = 0;        ///< of a result, both_across; else the blocks say
  std::int64_t columns = 0;     ///< of a result
  std::int64_t steps = 0;       ///< unread with both_across, where the blocks say
  void const* left = nullptr;   ///< [*, steps]; both_across [*, rows]
  void const* right = nullptr;  ///< [experts, columns, steps] or [experts, steps, columns]; both_across [*, columns]
  void* out = nullptr;          ///< [*, columns]; both_across [experts, rows, columns]
  /// [experts] where the rows of results go; empty: as the blocks. With codes only.
  std::span<switchyard::RowBlock const> out_blocks{};
  void const* bias = nullptr;  ///< [experts, columns] of the result's type; null: none
  ScaleSpan scales = ScaleSpan::none;
  /// One per expert, beginning at 16 bytes: ScaleSpan::matrix the same for all.
  std::span<float const* const> left_scales{};
  std::span<float const* const> right_scales{};        ///< [experts]
  std::span<std::byte const* const> right_matrices{};  ///< [experts], instead of `right` when not empty
};

class ExpertMatmul {
 public:
  ExpertMatmul();

  /// Asks cuBLAS for such products of some rows; nothing is issued, blocks and addresses are unread.
  /// @throws Error{unsupported}
  void require_offered(ExpertProducts const& products);

  /// Issues all products between what `stream` holds and what it will hold. Experts without rows have no result, but
  /// with both_across zeros. Captured, it replays with the same blocks.
  /// @throws as LtMatmul::multiply; results issued before it are undefined then
  void multiply(ExpertProducts const& products, StreamView stream);

 private:
  /// Whoever issues a share of the products. The first one uses the caller's stream.
  struct Lane {
    Stream stream{};
    Event done{};
    DeviceBuffer workspace;
    std::int64_t rows = 0;  ///< issued by this call
  };
  [[nodiscard]] Lane& least_busy() noexcept;
  void join(StreamView stream);

  LtMatmul matmul_{};
  std::vector<Lane> lanes_{};
  Event begun_{};
};

}  // namespace switchyard::cuda
