// SPDX-License-Identifier: Apache-2.0
/// The two layers of an expert on rows that lie widened in a workspace: shared by forward and backward.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "expert_buffers.hpp"
#include "expert_kernels.hpp"
#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/experts/experts.hpp"

namespace switchyard::cpu {

/// One expert's weights of one layer: rows are the layer's outputs, columns its inputs.
struct WeightMatrix {
  ConstTensorView plain{};  ///< all local experts
  QuantizedView const* codes = nullptr;
  std::int64_t expert = 0;
  std::int64_t rows = 0;
  std::int64_t columns = 0;

  [[nodiscard]] void const* row(std::int64_t index) const noexcept;  ///< of `plain`
};

/// What a pass computes with: some rows of one expert.
struct ExpertPass {
  ExpertKernels const& kernels;
  ExpertMlp const& mlp;
  ExpertWeights const& weights;
  std::int64_t expert;
  std::int64_t rows;

  [[nodiscard]] WeightMatrix first_weights() const;
  [[nodiscard]] WeightMatrix second_weights() const;
};

/// The rows named by `rows` [pass.rows], widened, times their router weights, into `input` [rows, H].
void load_input(ExpertPass const& pass, ExpertCall const& call, std::span<std::int64_t const> rows,
                std::span<float> input);
/// values [pass.rows, H] + bias (may be empty), rounded to the dtype of `output`, into its rows `rows`.
void store_rows(ExpertPass const& pass, std::span<float const> values, std::span<float const> bias,
                TensorView const& output, std::span<std::int64_t const> rows);
/// Rows that are codes: those a call brought, or those a layer quantised itself.
struct CodedRows {
  QuantizedMatrix own{};
  QuantizedView const* codes = nullptr;  ///< null: the layer reads floats
  std::vector<std::int64_t> rows{};      ///< of `codes`, one per row of the pass
};
/// The operands of the first layer as codes, when its product is one of int8 codes; input quantised and widened again
/// otherwise.
[[nodiscard]] CodedRows code_input(ExpertPass const& pass, ExpertCall const& call, std::span<std::int64_t const> rows,
                                   std::span<float> input);
/// The same for the second layer.
[[nodiscard]] CodedRows code_activation(ExpertPass const& pass, ExpertBuffers const& buffers);

/// input (or its codes) -> hidden, bias added, rounded; gates before ups whatever the layout of w1.
void first_layer(ExpertPass const& pass, ExpertBuffers const& buffers, CodedRows const& coded = {});
/// Row `row` of hidden as an activation reads it.
[[nodiscard]] GatedRow hidden_row(ExpertPass const& pass, ExpertBuffers const& buffers, std::int64_t row);
/// hidden -> activation, rounded.
void activate_hidden(ExpertPass const& pass, ExpertBuffers const& buffers);
/// activation (or its codes) -> output: this TP rank's partial, no bias.
void second_layer(ExpertPass const& pass, ExpertBuffers const& buffers, CodedRows const& coded = {});
/// The bias of an expert as floats; empty when there is none.
[[nodiscard]] std::vector<float> expert_bias(ExpertKernels const& kernels, ConstTensorView const& bias,
                                             std::int64_t expert, std::int64_t count);
/// Packs rows [first, first + lanes) of an expert's weight matrix ([rows, steps], plain or quantised).
void pack_weight_rows(ExpertKernels const& kernels, WeightMatrix const& matrix, std::int64_t first, std::int64_t lanes,
                      float* panel);
/// Calls body(row) in parallel, in ranges that are worth a task.
template <typename Body>
void for_rows(std::int64_t rows, std::int64_t elements_per_row, Body const& body) {
  constexpr std::int64_t kElementsPerTask = 1 << 15;
  std::int64_t const grain = std::max<std::int64_t>(1, kElementsPerTask / std::max<std::int64_t>(1, elements_per_row));
  parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) body(row);
  });
}

}  // namespace switchyard::cpu
