// SPDX-License-Identifier: Apache-2.0
#include "grouped_gemm.hpp"

#include "cuda_error.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

cudaDataType_t cublas_type(DType dtype) {
  if (dtype == DType::f32) return CUDA_R_32F;
  return dtype == DType::bf16 ? CUDA_R_16BF : CUDA_R_16F;
}

void const* at(void const* base, std::int64_t elements, DType dtype) {
  return static_cast<std::byte const*>(base) + elements * size_of(dtype);
}

}  // namespace

static void require_grouped(cublasStatus_t status, char const* call) {
  SWITCHYARD_REQUIRE(status == CUBLAS_STATUS_SUCCESS, cuda, "{} failed with {}: {}", call, cublasGetStatusName(status),
                     status == CUBLAS_STATUS_NOT_SUPPORTED
                         ? "this GPU or version of cuBLAS has no grouped GEMM of these types; use the exact engine"
                         : cublasGetStatusString(status));
}

GroupedGemm::GroupedGemm() {
  require_grouped(cublasCreate(&handle_), "cublasCreate");
}

GroupedGemm::~GroupedGemm() {
  static_cast<void>(cublasDestroy(handle_));
}

void GroupedGemm::fill_tables(GroupedLayer const& layer) {
  rows_.clear();
  pointers_.clear();
  std::vector<void const*> inputs;
  std::vector<void const*> outputs;
  for (std::size_t expert = 0; expert < layer.blocks.size(); ++expert) {
    auto const& block = layer.blocks[expert];
    if (block.rows == 0) continue;
    rows_.push_back(block.rows);
    pointers_.push_back(
        at(layer.weights, static_cast<std::int64_t>(expert) * layer.columns * layer.steps, layer.dtype));
    inputs.push_back(at(layer.rows, block.first_row * layer.steps, layer.dtype));
    outputs.push_back(at(layer.out, block.first_row * layer.columns, layer.dtype));
  }
  pointers_.insert(pointers_.end(), inputs.begin(), inputs.end());
  pointers_.insert(pointers_.end(), outputs.begin(), outputs.end());
  std::size_t const groups = rows_.size();
  transposed_.assign(groups, CUBLAS_OP_T);
  plain_.assign(groups, CUBLAS_OP_N);
  columns_.assign(groups, layer.columns);
  steps_.assign(groups, layer.steps);
  sizes_.assign(groups, 1);
  ones_.assign(groups, 1.0F);
  zeros_.assign(groups, 0.0F);
}

void GroupedGemm::upload_pointers(StreamView stream) {
  auto const bytes = static_cast<std::int64_t>(pointers_.size() * sizeof(void*));
  void* const device = device_pointers_.reserve(bytes);
  // From pageable memory: the call returns when the host table has been read.
  SWITCHYARD_CUDA_TRY(
      cudaMemcpyAsync(device, pointers_.data(), to_size(bytes), cudaMemcpyHostToDevice, stream.handle()));
}

void GroupedGemm::multiply(GroupedLayer const& layer, StreamView stream) {
  fill_tables(layer);
  if (rows_.empty()) return;
  upload_pointers(stream);
  auto const groups = static_cast<std::int64_t>(rows_.size());
  auto* const* const device = static_cast<void* const*>(device_pointers_.reserve(0));
  cudaDataType_t const type = cublas_type(layer.dtype);
  require_grouped(cublasSetStream(handle_, stream.handle()), "cublasSetStream");
  // cuBLAS counts columns first: out^T [columns, rows] = weights (transposed) * rows^T.
  require_grouped(cublasGemmGroupedBatchedEx_64(
                      handle_, transposed_.data(), plain_.data(), columns_.data(), rows_.data(), steps_.data(),
                      ones_.data(), device, type, steps_.data(), device + groups, type, steps_.data(), zeros_.data(),
                      device + 2 * groups, type, columns_.data(), groups, sizes_.data(), CUBLAS_COMPUTE_32F),
                  "cublasGemmGroupedBatchedEx");
}

}  // namespace switchyard::cuda
