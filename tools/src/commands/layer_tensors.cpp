// SPDX-License-Identifier: Apache-2.0
#include "commands/layer_tensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::cli {
namespace {

constexpr float kPoison = -7.5e30F;

/// Places in LayerTensors::all().
enum TensorPlace : std::size_t { kOutput, kDTokens, kDRouterWeights, kDW1, kDW2, kDB1, kDB2 };

std::span<std::byte const> bytes_of(std::vector<float> const& values) {
  return {reinterpret_cast<std::byte const*>(values.data()), values.size() * sizeof(float)};
}

/// Row `row` of a rank's own [*, row_bytes].
std::span<std::byte const> row_at(std::span<std::byte const> bytes, std::size_t row, std::int64_t row_bytes) {
  return bytes.subspan(row * to_size(row_bytes), to_size(row_bytes));
}

/// An element's bits, most significant digit first.
std::string hex_of(std::byte const* element, std::size_t size) {
  std::string text = "0x";
  for (std::size_t i = size; i-- > 0;) text += fmt::format("{:02x}", std::to_integer<unsigned>(element[i]));
  return text;
}

/// The TP rank that holds a unit of I.
int tp_rank_of_unit(ExpertMlp const& mlp, int tp, std::int64_t unit) {
  int block = 0;
  while (block + 1 < kIntermediateBlocks && intermediate_block_begin(mlp.intermediate, block + 1) <= unit) ++block;
  return block * tp / kIntermediateBlocks;
}

/// The unit of I that an element of a weight gradient belongs to; nothing for the second bias.
std::optional<std::int64_t> unit_of(ExpertMlp const& mlp, std::string_view tensor, std::int64_t row,
                                    std::int64_t column) {
  if (tensor == "d_b2") return std::nullopt;
  if (tensor == "d_w2") return column;
  std::int64_t const output = tensor == "d_b1" ? column : row;
  return mlp.activation.layout == GateLayout::interleaved ? output / 2 : output % mlp.intermediate;
}

/// "rank 3, token 1, column 4", both counted from the rank's first token.
std::string token_place(LayerDescription const& d, ExpertParallelGrid grid, std::int64_t token, std::int64_t column) {
  int rank = 0;
  while (token >= token_block(d.tokens, grid.world(), rank).first + token_block(d.tokens, grid.world(), rank).count)
    ++rank;
  return fmt::format("rank {}, token {}, column {}", rank, token - token_block(d.tokens, grid.world(), rank).first,
                     column);
}

std::string expert_place(LayerDescription const& d, ExpertParallelGrid grid, LayerTensor const& tensor, int copy,
                         std::int64_t row, std::int64_t column) {
  std::int64_t const expert = row / tensor.rows_per_owner;
  std::int64_t const row_of_expert = row % tensor.rows_per_owner;
  auto const placement = ExpertPlacement::contiguous(1, d.mlp.num_local_experts, grid.ep);
  int ep_rank = 0;
  while (std::ranges::count(placement.rank_slots(0, RankId{ep_rank}), ExpertId{static_cast<std::int32_t>(expert)}) == 0)
    ++ep_rank;
  auto const unit = unit_of(d.mlp, tensor.name, row_of_expert, column);
  int const tp_rank = unit ? tp_rank_of_unit(d.mlp, grid.tp, *unit) : copy;
  return fmt::format("rank {}, expert {}, row {}, column {}", grid.rank_of(ep_rank, tp_rank).value(), expert,
                     row_of_expert, column);
}

std::string difference_of(LayerDescription const& d, ExpertParallelGrid grid, LayerTensor const& got,
                          LayerTensor const& want) {
  for (std::size_t copy = 0; copy < got.copies.size(); ++copy) {
    auto const& mine = got.copies[copy];
    auto const& theirs = want.copies.front();
    auto const at = std::mismatch(mine.begin(), mine.end(), theirs.begin(), theirs.end());
    if (at.first == mine.end()) continue;
    auto const size = to_size(size_of(got.dtype));
    auto const element = (at.first - mine.begin()) / static_cast<std::ptrdiff_t>(size);
    std::string const place =
        got.owner == TensorOwner::token
            ? token_place(d, grid, element / got.columns, element % got.columns)
            : expert_place(d, grid, got, static_cast<int>(copy), element / got.columns, element % got.columns);
    std::size_t const offset = to_size(element) * size;
    return fmt::format("{}, {}: {} instead of {}", got.name, place, hex_of(mine.data() + offset, size),
                       hex_of(theirs.data() + offset, size));
  }
  return "";
}

}  // namespace

LayerTensor::LayerTensor(std::string_view tensor_name, TensorOwner tensor_owner, DType tensor_dtype,
                         std::int64_t num_rows, std::int64_t num_columns, std::int64_t rows_of_owner, int num_copies)
    : name(tensor_name),
      owner(tensor_owner),
      dtype(tensor_dtype),
      rows(num_rows),
      columns(num_columns),
      rows_per_owner(rows_of_owner) {
  copies.assign(to_size(num_copies), std::vector<std::byte>(to_size(rows * row_bytes())));
}

void LayerTensor::put(int copy, std::int64_t row, std::int64_t first, std::span<std::byte const> bytes) {
  std::int64_t const offset = row * row_bytes() + first * size_of(dtype);
  if (!bytes.empty()) std::memcpy(copies[to_size(copy)].data() + offset, bytes.data(), bytes.size());
}

void RankTensors::resize(LayerDescription const& d, ExpertMlp const& slice, std::int64_t tokens) {
  output.assign(to_size(tokens * slice.hidden * size_of(slice.dtype)), std::byte{0xa5});
  if (!d.backward) return;
  d_tokens = output;
  d_router_weights.assign(to_size(tokens * d.top_k), kPoison);
  std::int64_t const experts = slice.num_local_experts;
  d_w1.assign(to_size(experts * slice.first_layer_outputs() * slice.hidden), kPoison);
  d_w2.assign(to_size(experts * slice.hidden * slice.local_units()), kPoison);
  d_b1.assign(to_size(experts * slice.first_layer_outputs()), kPoison);
  d_b2.assign(to_size(experts * slice.hidden), kPoison);
}

MoeGradients RankTensors::views(LayerDescription const& d, ExpertMlp const& slice, std::int64_t tokens) {
  std::int64_t const experts = slice.num_local_experts;
  MoeGradients views;
  views.d_tokens = {d_tokens.data(), slice.dtype, {tokens, slice.hidden}};
  views.d_router_weights = d_router_weights;
  views.d_w1 = {d_w1.data(), DType::f32, {experts, slice.first_layer_outputs(), slice.hidden}};
  views.d_w2 = {d_w2.data(), DType::f32, {experts, slice.hidden, slice.local_units()}};
  if (!d.biased) return views;
  views.d_b1 = {d_b1.data(), DType::f32, {experts, slice.first_layer_outputs()}};
  views.d_b2 = {d_b2.data(), DType::f32, {experts, slice.hidden}};
  return views;
}

LayerTensors::LayerTensors(LayerDescription const& d, ExpertParallelGrid grid) : grid_(grid) {
  std::int64_t const experts = d.mlp.num_local_experts;
  std::int64_t const outputs = d.mlp.first_layer_outputs();
  tensors_.emplace_back("output", TensorOwner::token, d.mlp.dtype, d.tokens, d.mlp.hidden, 1, 1);
  if (!d.backward) return;
  tensors_.emplace_back("d_tokens", TensorOwner::token, d.mlp.dtype, d.tokens, d.mlp.hidden, 1, 1);
  tensors_.emplace_back("d_router_weights", TensorOwner::token, DType::f32, d.tokens, d.top_k, 1, 1);
  tensors_.emplace_back("d_w1", TensorOwner::expert, DType::f32, experts * outputs, d.mlp.hidden, outputs, 1);
  tensors_.emplace_back("d_w2", TensorOwner::expert, DType::f32, experts * d.mlp.hidden, d.mlp.intermediate,
                        d.mlp.hidden, 1);
  if (!d.biased) return;
  tensors_.emplace_back("d_b1", TensorOwner::expert, DType::f32, experts, outputs, 1, 1);
  tensors_.emplace_back("d_b2", TensorOwner::expert, DType::f32, experts, d.mlp.hidden, 1, grid.tp);
}

void LayerTensors::add_rank(LayerDescription const& d, RankId rank, SliceRows const& rows, RankTensors const& own) {
  TokenBlock const block = token_block(d.tokens, grid_.world(), rank.value());
  tensors_[kOutput].put(0, block.first, 0, own.output);
  if (!d.backward) return;
  tensors_[kDTokens].put(0, block.first, 0, own.d_tokens);
  tensors_[kDRouterWeights].put(0, block.first, 0, bytes_of(own.d_router_weights));
  std::int64_t const outputs = d.mlp.first_layer_outputs();
  std::int64_t const local_bytes = rows.columns * size_of(DType::f32);
  for (std::size_t row = 0; row < rows.w1.size(); ++row) {
    tensors_[kDW1].put(0, rows.w1[row], 0, row_at(bytes_of(own.d_w1), row, tensors_[kDW1].row_bytes()));
    if (d.biased)
      tensors_[kDB1].put(0, rows.w1[row] / outputs, rows.w1[row] % outputs, bytes_of(own.d_b1).subspan(4 * row, 4));
  }
  for (std::size_t row = 0; row < rows.w2.size(); ++row) {
    tensors_[kDW2].put(0, rows.w2[row], rows.first_column, row_at(bytes_of(own.d_w2), row, local_bytes));
    if (d.biased)
      tensors_[kDB2].put(grid_.tp_rank_of(rank), rows.w2[row] / d.mlp.hidden, rows.w2[row] % d.mlp.hidden,
                         bytes_of(own.d_b2).subspan(4 * row, 4));
  }
}

Fingerprint digest_of(LayerTensor const& tensor) {
  FingerprintBuilder builder;
  auto const& bytes = tensor.copies.front();
  builder.add(0, {reinterpret_cast<char const*>(bytes.data()), bytes.size()});
  return builder.result();
}

Fingerprint LayerTensors::forward_digest() const {
  return digest_of(tensors_.front());
}

Fingerprint LayerTensors::backward_digest() const {
  FingerprintBuilder builder;
  for (std::size_t i = 1; i < tensors_.size(); ++i)
    builder.add(static_cast<std::uint32_t>(i), static_cast<std::int64_t>(digest_of(tensors_[i]).value));
  return builder.result();
}

std::string first_difference(LayerDescription const& d, ExpertParallelGrid grid, LayerTensors const& got,
                             LayerTensors const& want) {
  for (std::size_t i = 0; i < got.all().size(); ++i) {
    std::string text = difference_of(d, grid, got.all()[i], want.all()[i]);
    if (!text.empty()) return text;
  }
  return "";
}

}  // namespace switchyard::cli
