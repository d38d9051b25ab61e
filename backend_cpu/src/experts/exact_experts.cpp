// SPDX-License-Identifier: Apache-2.0
#include <numeric>
#include <vector>

#include "check_call.hpp"
#include "expert_layers.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/hd/tree_sum.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cpu {
namespace {

std::byte* row_of(TensorView const& matrix, std::int64_t row, std::int64_t hidden) {
  return static_cast<std::byte*>(matrix.data()) + row * hidden * size_of(matrix.dtype());
}

void run_pass(ExpertPass const& pass, ExpertCall const& call, std::int64_t first, ExpertBuffers const& buffers) {
  std::vector<std::int64_t> rows(to_size(pass.rows));
  std::iota(rows.begin(), rows.end(), first);
  first_layer(pass, buffers, code_input(pass, call, rows, buffers.input));
  activate_hidden(pass, buffers);
  second_layer(pass, buffers, code_activation(pass, buffers));
  std::vector<float> bias;  // a TP rank leaves it to whoever joins the partials
  if (pass.mlp.tp.size == 1) bias = expert_bias(pass.kernels, pass.weights.b2, pass.expert, pass.mlp.hidden);
  store_rows(pass, buffers.output, bias, call.output, rows);
}

/// Row `row` of all partials joined into the first one.
void join_row(std::span<TensorView const> partials, std::int64_t row, std::int64_t hidden,
              std::vector<float>& scratch) {
  auto const count = static_cast<std::int64_t>(partials.size());
  scratch.resize(to_size(count * hidden));
  for (std::int64_t rank = 0; rank < count; ++rank)
    std::copy_n(reinterpret_cast<float const*>(row_of(partials[to_size(rank)], row, hidden)), hidden,
                scratch.data() + rank * hidden);
  hd::tree_sum_in_place(scratch.data(), hidden, count, hidden);
}

/// The configuration with the scales that a call brings.
ExpertMlp scaled(ExpertMlp mlp, ExpertCall const& call) {
  if (call.a1_scale && mlp.input_quant) mlp.input_quant->given_scale = *call.a1_scale;
  if (call.a2_scale && mlp.activation_quant) mlp.activation_quant->given_scale = *call.a2_scale;
  return mlp;
}

}  // namespace

ExactExperts::ExactExperts(ExpertMlp mlp) : mlp_(mlp) {
  mlp_.validate();
}

std::int64_t ExactExperts::workspace_bytes(std::int64_t max_rows) const {
  Workspace counting;
  static_cast<void>(take_buffers(counting, active_expert_kernels(), mlp_, max_rows));
  return counting.bytes();
}

void ExactExperts::apply(ExpertCall const& call, std::span<std::byte> workspace) const {
  std::int64_t const largest = check_call(mlp_, call);
  ExpertKernels const& kernels = active_expert_kernels();
  Workspace arena(workspace);
  ExpertBuffers const buffers = take_buffers(arena, kernels, mlp_, largest);
  ExpertMlp const mlp = scaled(mlp_, call);
  hd::FloatEnvGuard const float_env;
  for (int expert = 0; expert < mlp_.num_local_experts; ++expert) {
    RowBlock const& block = call.blocks[to_size(expert)];
    for (std::int64_t done = 0; done < block.rows; done += kRowsPerPass) {
      ExpertPass const pass{kernels, mlp, call.weights, expert, std::min(kRowsPerPass, block.rows - done)};
      run_pass(pass, call, block.first_row + done, buffers);
    }
  }
}

void finish_partials(ExpertMlp const& mlp, std::span<TensorView const> partials, std::span<RowBlock const> blocks,
                     ConstTensorView const& b2, TensorView const& output) {
  SWITCHYARD_REQUIRE(static_cast<int>(partials.size()) == mlp.tp.size, shape_mismatch,
                     "{} partials to join for TP size {}", partials.size(), mlp.tp.size);
  std::int64_t const rows = output.data() == nullptr ? 0 : output.shape().num_elements() / mlp.hidden;
  static_cast<void>(check_blocks(mlp, blocks, rows));
  require_matrix(output, "output", rows, mlp.hidden);
  for (TensorView const& partial : partials) {
    require_matrix(partial, "partial", rows, mlp.hidden);
    SWITCHYARD_REQUIRE(rows == 0 || partial.dtype() == DType::f32, shape_mismatch,
                       "the partial of TP rank {} is {}, wanted f32", &partial - partials.data(),
                       to_string(partial.dtype()));
  }
  if (b2.data() != nullptr) require_matrix(b2, "b2", mlp.num_local_experts, mlp.hidden);
  ExpertKernels const& kernels = active_expert_kernels();
  for (int expert = 0; expert < mlp.num_local_experts; ++expert) {
    RowBlock const& block = blocks[to_size(expert)];
    std::vector<float> const bias = expert_bias(kernels, b2, expert, mlp.hidden);
    for_rows(block.rows, mlp.hidden, [&](std::int64_t row) {
      std::vector<float> sums;
      join_row(partials, block.first_row + row, mlp.hidden, sums);
      kernels.add_and_store(sums.data(), bias.empty() ? nullptr : bias.data(), output.dtype(),
                            row_of(output, block.first_row + row, mlp.hidden), mlp.hidden);
    });
  }
}

}  // namespace switchyard::cpu
