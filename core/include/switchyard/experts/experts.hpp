// SPDX-License-Identifier: Apache-2.0
/// Experts: the interface of whatever computes expert MLPs on dispatched rows, and the operands it takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "switchyard/experts/expert_mlp.hpp"
#include "switchyard/experts/quantized_view.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard {

/// How rows lie that experts read and write.
enum class RowFormat : std::uint8_t {
  standard,  ///< [rows, H], the rows of each local expert behind those of the one before
  batched,   ///< [local experts, max rows, H] and a count per expert; rows behind the count are undefined
};
[[nodiscard]] std::string_view to_string(RowFormat format) noexcept;

/// The rows of one local expert: [first_row, first_row + rows) of the flattened [*, H] matrix.
struct RowBlock {
  std::int64_t first_row = 0;
  std::int64_t rows = 0;
  friend bool operator==(RowBlock const&, RowBlock const&) = default;
};
/// @param rows_per_expert [local experts] @throws Error{invalid_argument} for a negative count or a sum beyond 2^63.
[[nodiscard]] std::vector<RowBlock> standard_blocks(std::span<std::int64_t const> rows_per_expert);
/// @throws Error{invalid_argument} also for a count above `max_rows`, naming the expert.
[[nodiscard]] std::vector<RowBlock> batched_blocks(std::span<std::int64_t const> rows_per_expert,
                                                   std::int64_t max_rows);

/// Host memory; contiguous. Either plain (w1, w2 of dtype f32, bf16 or f16) or quantised (one matrix per local expert).
struct ExpertWeights {
  ConstTensorView w1{};                       ///< [local experts, first_layer_outputs, H]
  ConstTensorView w2{};                       ///< [local experts, H, local_units]
  ConstTensorView b1{};                       ///< [local experts, first_layer_outputs], or no data: no bias
  ConstTensorView b2{};                       ///< [local experts, H], or no data; every TP rank holds all of it
  std::span<QuantizedView const> w1_codes{};  ///< [local experts], each first_layer_outputs x H; empty: w1 is read
  std::span<QuantizedView const> w2_codes{};  ///< [local experts], each H x local_units; empty: w2 is read
};

struct ExpertCall {
  ConstTensorView rows{};                    ///< [*, H] of the row dtype; unread when row_codes is given
  QuantizedView const* row_codes = nullptr;  ///< rows that were quantised before they were sent
  std::span<RowBlock const> blocks{};        ///< [local experts]
  ExpertWeights weights{};
  /// A factor per row of `rows`, applied to the input and rounded to the row dtype (router weight on input, which is
  /// for top-1 routing); empty = none. The caller's rows are not changed.
  std::span<float const> row_weights{};
  std::optional<float> a1_scale{};  ///< replaces the given scale of mlp.input_quant by fp8_tensor; else unread
  std::optional<float> a2_scale{};  ///< the same of mlp.activation_quant
  /// [*, H], same rows as the input: of the row dtype for TP size 1, else this rank's f32 partial without b2. May be
  /// the memory of `rows`. Rows outside all blocks are not written.
  TensorView output{};
};

/// One object per configuration; apply() may be called from several threads with different workspaces.
class Experts {
 public:
  virtual ~Experts() = default;
  Experts() = default;
  Experts(Experts const&) = delete;
  Experts& operator=(Experts const&) = delete;

  [[nodiscard]] virtual std::string_view name() const noexcept = 0;
  [[nodiscard]] virtual ExpertMlp const& mlp() const noexcept = 0;
  /// Bytes of workspace that apply() needs when no expert has more than `max_rows` rows.
  [[nodiscard]] virtual std::int64_t workspace_bytes(std::int64_t max_rows) const = 0;
  /// Unweighted, unreduced expert outputs. Zero rows are fine, a null view then too.
  /// @param workspace starts at a multiple of 64 bytes
  /// @throws Error{shape_mismatch} naming operand, extent given and extent wanted, Error{invalid_argument} for blocks
  /// outside the rows, Error{out_of_memory} for too small a workspace; nothing is written then.
  virtual void apply(ExpertCall const& call, std::span<std::byte> workspace) const = 0;
};

}  // namespace switchyard
