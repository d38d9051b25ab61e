// SPDX-License-Identifier: Apache-2.0
#include "expert_matmul.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>

#include "cuda_error.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

/// What NVIDIA recommends for Hopper.
constexpr std::int64_t kWorkspaceBytes = std::int64_t{32} << 20;

std::int64_t bytes_of(cudaDataType_t type) {
  if (type == CUDA_R_32F) return 4;
  return type == CUDA_R_8F_E4M3 ? 1 : 2;
}

void const* past(void const* base, std::int64_t elements, cudaDataType_t type) {
  return static_cast<std::byte const*>(base) + elements * bytes_of(type);
}

/// Experts [first, first + count) with `rows` rows each, `distance` apart.
struct Run {
  std::size_t first = 0;
  std::size_t count = 1;
  std::int64_t rows = 0;
  std::int64_t distance = 0;

  [[nodiscard]] std::int64_t total() const noexcept { return rows * static_cast<std::int64_t>(count); }
};

MatmulShape shape_of(ExpertProducts const& products, std::int64_t rows) {
  bool const over_rows = products.lines == ChainLines::both_across;
  MatmulShape shape;
  shape.lines = products.lines;
  shape.operands = products.operands;
  shape.result = products.result;
  shape.scales = products.scales;
  shape.biased = products.bias != nullptr;
  shape.rows = over_rows ? products.rows : rows;
  shape.columns = products.columns;
  shape.steps = over_rows ? rows : products.steps;
  return shape;
}

MatmulOperands operands_of(ExpertProducts const& products, Run const& run) {
  auto const index = static_cast<std::int64_t>(run.first);
  std::int64_t const first = products.blocks[run.first].first_row;
  bool const over_rows = products.lines == ChainLines::both_across;
  std::int64_t const left_line = over_rows ? products.rows : products.steps;
  std::int64_t const matrix = products.columns * (over_rows ? products.rows : products.steps);
  MatmulOperands on;
  on.left_stride = run.distance * left_line;
  on.right_stride = over_rows ? run.distance * products.columns : matrix;
  on.out_stride = over_rows ? matrix : run.distance * products.columns;
  on.left = past(products.left, first * left_line, products.operands);
  on.right = past(products.right, over_rows ? first * products.columns : index * matrix, products.operands);
  std::int64_t const out_row = products.out_blocks.empty() ? first : products.out_blocks[run.first].first_row;
  on.out =
      const_cast<void*>(past(products.out, over_rows ? index * matrix : out_row * products.columns, products.result));
  if (products.bias != nullptr) {
    on.bias = past(products.bias, index * products.columns, products.result);
    on.bias_stride = run.count > 1 ? products.columns : 0;
  }
  if (products.scales == ScaleSpan::none) return on;
  on.right = products.right_matrices[run.first];
  on.left_scales = products.left_scales[run.first];
  on.right_scales = products.right_scales[run.first];
  return on;
}

/// Larger products fill the GPU by themselves, and cuBLAS has faster kernels for them than for batches.
constexpr std::int64_t kFewRows = 1024;

bool extends(ExpertProducts const& products, Run const& run, std::size_t expert) {
  if (products.scales != ScaleSpan::none || run.rows > kFewRows || run.first + run.count != expert) return false;
  std::int64_t const distance = products.blocks[expert].first_row - products.blocks[expert - 1].first_row;
  return products.blocks[expert].rows == run.rows && distance >= run.rows &&
         (run.count == 1 || distance == run.distance);
}

/// All experts with rows, the longest runs first.
std::vector<Run> runs_of(ExpertProducts const& products) {
  std::vector<Run> runs;
  for (std::size_t expert = 0; expert < products.blocks.size(); ++expert) {
    auto const& block = products.blocks[expert];
    if (block.rows == 0) continue;
    if (!runs.empty() && extends(products, runs.back(), expert)) {
      runs.back().distance = block.first_row - products.blocks[expert - 1].first_row;
      ++runs.back().count;
    } else {
      runs.push_back({expert, 1, block.rows, 0});
    }
  }
  std::stable_sort(runs.begin(), runs.end(), [](Run const& a, Run const& b) { return a.total() > b.total(); });
  return runs;
}

void zero_results(ExpertProducts const& products, StreamView stream) {
  std::int64_t const bytes = products.rows * products.columns * bytes_of(products.result);
  for (std::size_t expert = 0; expert < products.blocks.size(); ++expert)
    if (products.blocks[expert].rows == 0 && bytes > 0)
      SWITCHYARD_CUDA_TRY(
          cudaMemsetAsync(static_cast<std::byte*>(products.out) + static_cast<std::int64_t>(expert) * bytes, 0,
                          to_size(bytes), stream.handle()));
}

}  // namespace

ExpertMatmul::ExpertMatmul() {
  constexpr int kLanes = 4;  // measured, docs/performance.md
  for (int i = 0; i < kLanes; ++i) lanes_.push_back({Stream(), Event(), DeviceBuffer(kWorkspaceBytes), 0});
}

void ExpertMatmul::require_offered(ExpertProducts const& products) {
  constexpr std::int64_t kSomeRows = 16;
  matmul_.require_offered(shape_of(products, kSomeRows), lanes_.front().workspace);
}

ExpertMatmul::Lane& ExpertMatmul::least_busy() noexcept {
  return *std::min_element(lanes_.begin(), lanes_.end(), [](Lane const& a, Lane const& b) { return a.rows < b.rows; });
}

void ExpertMatmul::join(StreamView stream) {
  for (Lane& lane : lanes_) {
    if (lane.rows == 0 || &lane == &lanes_.front()) continue;
    lane.done.view().record(lane.stream);
    stream.wait(lane.done);
  }
}

void ExpertMatmul::multiply(ExpertProducts const& products, StreamView stream) {
  bool const over_rows = products.lines == ChainLines::both_across;
  if (over_rows) zero_results(products, stream);
  if (products.columns == 0 || (over_rows ? products.rows : products.steps) == 0) return;
  std::vector<Run> const runs = runs_of(products);
  for (Lane& lane : lanes_) lane.rows = 0;
  if (runs.size() > 1) begun_.view().record(stream);
  for (Run const& run : runs) {
    Lane& lane = least_busy();
    bool const aside = &lane != &lanes_.front();
    if (aside && lane.rows == 0) lane.stream.view().wait(begun_);
    MatmulShape shape = shape_of(products, run.rows);
    MatmulOperands const operands = operands_of(products, run);
    shape.batch = static_cast<std::int32_t>(run.count);
    shape.alignment = alignment_of(operands, bytes_of(products.operands), bytes_of(products.result));
    matmul_.multiply(shape, operands, lane.workspace, aside ? lane.stream.view() : stream);
    lane.rows += run.total();
  }
  join(stream);
}

}  // namespace switchyard::cuda
