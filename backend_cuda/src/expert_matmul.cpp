// SPDX-License-Identifier: Apache-2.0
#include "expert_matmul.hpp"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <numeric>

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

MatmulShape shape_of(ExpertProducts const& products, switchyard::RowBlock const& block) {
  bool const over_rows = products.lines == ChainLines::both_across;
  MatmulShape shape;
  shape.lines = products.lines;
  shape.operands = products.operands;
  shape.result = products.result;
  shape.scales = products.scales;
  shape.rows = over_rows ? products.rows : block.rows;
  shape.columns = products.columns;
  shape.steps = over_rows ? block.rows : products.steps;
  return shape;
}

MatmulOperands operands_of(ExpertProducts const& products, std::size_t expert) {
  auto const index = static_cast<std::int64_t>(expert);
  std::int64_t const first = products.blocks[expert].first_row;
  bool const over_rows = products.lines == ChainLines::both_across;
  MatmulOperands operands;
  operands.left = past(products.left, first * (over_rows ? products.rows : products.steps), products.operands);
  if (!products.right_matrices.empty()) {
    operands.right = products.right_matrices[expert];
  } else {
    std::int64_t const begin = over_rows ? first * products.columns : index * products.columns * products.steps;
    operands.right = past(products.right, begin, products.operands);
  }
  std::int64_t const result = over_rows ? index * products.rows * products.columns : first * products.columns;
  operands.out = const_cast<void*>(past(products.out, result, products.result));
  if (products.scales == ScaleSpan::none) return operands;
  operands.left_scales = products.left_scales + (products.scales == ScaleSpan::line ? first : 0);
  operands.right_scales = products.right_scales[expert];
  return operands;
}

/// Experts with rows, the largest first.
std::vector<std::size_t> by_rows(std::span<switchyard::RowBlock const> blocks) {
  std::vector<std::size_t> order(blocks.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::erase_if(order, [&](std::size_t expert) { return blocks[expert].rows == 0; });
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return blocks[a].rows > blocks[b].rows; });
  return order;
}

void zero_results(ExpertProducts const& products, StreamView stream) {
  std::int64_t const elements = products.rows * products.columns;
  std::int64_t const bytes = elements * bytes_of(products.result);
  for (std::size_t expert = 0; expert < products.blocks.size(); ++expert)
    if (products.blocks[expert].rows == 0 && bytes > 0)
      SWITCHYARD_CUDA_TRY(
          cudaMemsetAsync(static_cast<std::byte*>(products.out) + static_cast<std::int64_t>(expert) * bytes, 0,
                          to_size(bytes), stream.handle()));
}

}  // namespace

ExpertMatmul::ExpertMatmul(Lanes const& lanes) : target_multiprocessors_(lanes.target_multiprocessors) {
  for (int i = 0; i < lanes.streams; ++i) lanes_.push_back({Stream(), Event(), DeviceBuffer(kWorkspaceBytes), 0});
}

void ExpertMatmul::require_offered(ExpertProducts const& products) {
  constexpr std::int64_t kSomeRows = 16;
  matmul_.require_offered(shape_of(products, {0, kSomeRows}), lanes_.front().workspace);
}

void ExpertMatmul::issue(ExpertProducts const& products, std::size_t expert, Lane& lane) {
  MatmulShape shape = shape_of(products, products.blocks[expert]);
  MatmulOperands const operands = operands_of(products, expert);
  shape.alignment = alignment_of(operands);
  shape.target_multiprocessors = target_multiprocessors_;
  matmul_.multiply(shape, operands, lane.workspace, lane.stream);
  lane.rows += products.blocks[expert].rows;
}

void ExpertMatmul::join(StreamView stream) {
  for (Lane& lane : lanes_) {
    if (lane.rows == 0) continue;
    lane.done.view().record(lane.stream);
    stream.wait(lane.done);
  }
}

void ExpertMatmul::multiply(ExpertProducts const& products, StreamView stream) {
  bool const over_rows = products.lines == ChainLines::both_across;
  if (over_rows) zero_results(products, stream);
  if (products.columns == 0 || (over_rows ? products.rows : products.steps) == 0) return;
  for (Lane& lane : lanes_) lane.rows = 0;
  begun_.view().record(stream);
  for (std::size_t const expert : by_rows(products.blocks)) {
    auto const least =
        std::min_element(lanes_.begin(), lanes_.end(), [](Lane const& a, Lane const& b) { return a.rows < b.rows; });
    if (least->rows == 0) least->stream.view().wait(begun_);
    issue(products, expert, *least);
  }
  join(stream);
}

}  // namespace switchyard::cuda
