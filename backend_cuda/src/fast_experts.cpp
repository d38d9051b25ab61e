// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/fast_experts.hpp"

#include <cuda_runtime_api.h>

#include "cuda_error.hpp"
#include "expert_kernels.hpp"
#include "grouped_gemm.hpp"
#include "nvtx_range.hpp"
#include "switchyard/cuda/convert.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {

struct FastExperts::State {
  ExpertMlp mlp{};
  StreamView stream{};
  GroupedGemm gemm{};
  DeviceScratch blocks{};
  DeviceScratch weighted{};    ///< rows times their router weights
  DeviceScratch narrow{};      ///< results of the first layer, then activations, of the row dtype
  DeviceScratch hidden{};      ///< the same as floats
  DeviceScratch activation{};  ///< floats

  void upload_blocks(std::span<switchyard::RowBlock const> host);
  /// @return the first layer's input.
  void const* weigh(ExpertCall const& call, std::int64_t rows);
  void* first_layer(ExpertCall const& call, void const* input, std::int64_t rows);
  /// @return activations of the row dtype, in the memory of `values` if that is not f32.
  void const* activate(void* values, std::int64_t rows);
  [[nodiscard]] switchyard::RowBlock const* device_blocks() {
    return static_cast<switchyard::RowBlock const*>(blocks.reserve(0));
  }
};

namespace {

void require_offered(ExpertMlp const& mlp) {
  mlp.validate();
  SWITCHYARD_REQUIRE(mlp.tp.size == 1, unsupported,
                     "the fast engine with TP size {}: partials are floats, which a grouped GEMM of {} does not store; "
                     "use the exact engine",
                     mlp.tp.size, to_string(mlp.dtype));
  SWITCHYARD_REQUIRE(!mlp.input_quant && !mlp.activation_quant, unsupported,
                     "the fast engine takes plain rows and activations: use the exact engine for quantised ones");
  SWITCHYARD_REQUIRE(mlp.rounding.hidden == mlp.dtype && mlp.rounding.activation == mlp.dtype, unsupported,
                     "the fast engine stores hidden values and activations as {}, but they are rounded to {} and {}: "
                     "use ExpertRounding::every_store",
                     to_string(mlp.dtype), to_string(mlp.rounding.hidden), to_string(mlp.rounding.activation));
}

void require_operand(ConstTensorView const& view, std::string_view name, DType dtype, std::int64_t elements) {
  if (elements == 0 && view.data() == nullptr) return;
  SWITCHYARD_REQUIRE(view.data() != nullptr && view.shape().contiguous() && view.space() == MemorySpace::device &&
                         view.shape().num_elements() == elements,
                     shape_mismatch, "{} holds {} elements, wanted {}, contiguous in device memory", name,
                     view.data() == nullptr ? 0 : view.shape().num_elements(), elements);
  SWITCHYARD_REQUIRE(view.dtype() == dtype, unsupported, "{} is {}, rows are {}: the fast engine takes one dtype", name,
                     to_string(view.dtype()), to_string(dtype));
}

std::int64_t rows_of(ExpertMlp const& mlp, ConstTensorView const& rows) {
  return rows.data() == nullptr ? 0 : rows.shape().num_elements() / mlp.hidden;
}

void require_blocks(ExpertMlp const& mlp, std::span<switchyard::RowBlock const> blocks, std::int64_t rows) {
  SWITCHYARD_REQUIRE(static_cast<int>(blocks.size()) == mlp.num_local_experts, shape_mismatch,
                     "{} blocks for {} local experts", blocks.size(), mlp.num_local_experts);
  for (auto const& block : blocks)
    SWITCHYARD_REQUIRE(block.rows >= 0 && block.first_row >= 0 && block.first_row <= rows - block.rows,
                       invalid_argument, "local expert {} has rows [{}, {} + {}) of {}", &block - blocks.data(),
                       block.first_row, block.first_row, block.rows, rows);
}

void require_call(ExpertMlp const& mlp, ExpertCall const& call) {
  SWITCHYARD_REQUIRE(call.row_codes == nullptr && call.weights.w1_codes.empty() && call.weights.w2_codes.empty(),
                     unsupported, "the fast engine takes no codes: use the exact engine");
  SWITCHYARD_REQUIRE(call.weights.b1.data() == nullptr && call.weights.b2.data() == nullptr, unsupported,
                     "the fast engine adds no biases: use the exact engine");
  std::int64_t const rows = rows_of(mlp, call.rows);
  std::int64_t const experts = mlp.num_local_experts;
  require_operand(call.rows, "rows", mlp.dtype, checked_mul(rows, mlp.hidden));
  require_operand(call.output, "output", mlp.dtype, checked_mul(rows, mlp.hidden));
  require_operand(call.weights.w1, "w1", mlp.dtype,
                  checked_mul(checked_mul(experts, mlp.first_layer_outputs()), mlp.hidden));
  require_operand(call.weights.w2, "w2", mlp.dtype, checked_mul(checked_mul(experts, mlp.hidden), mlp.local_units()));
  SWITCHYARD_REQUIRE(call.row_weights.empty() || static_cast<std::int64_t>(call.row_weights.size()) == rows,
                     shape_mismatch, "{} router weights for {} rows", call.row_weights.size(), rows);
  require_blocks(mlp, call.blocks, rows);
}

float const* widened(void const* values, DType dtype, float* to, std::int64_t count, StreamView stream) {
  if (dtype == DType::f32) return static_cast<float const*>(values);
  if (dtype == DType::bf16) launch_widen<bf16_t>({static_cast<bf16_t const*>(values), to, count}, stream);
  if (dtype == DType::f16) launch_widen<f16_t>({static_cast<f16_t const*>(values), to, count}, stream);
  return to;
}

void const* narrowed(float const* values, DType dtype, void* to, std::int64_t count, StreamView stream) {
  if (dtype == DType::f32) return values;
  if (dtype == DType::bf16) launch_narrow<bf16_t>({values, static_cast<bf16_t*>(to), count}, stream);
  if (dtype == DType::f16) launch_narrow<f16_t>({values, static_cast<f16_t*>(to), count}, stream);
  return to;
}

}  // namespace

void FastExperts::State::upload_blocks(std::span<switchyard::RowBlock const> host) {
  void* const device = blocks.reserve(static_cast<std::int64_t>(host.size_bytes()));
  // From pageable memory: the call returns when the host's list has been read.
  SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(device, host.data(), host.size_bytes(), cudaMemcpyHostToDevice, stream.handle()));
}

void const* FastExperts::State::weigh(ExpertCall const& call, std::int64_t rows) {
  if (call.row_weights.empty()) return call.rows.data();
  void* const out = weighted.reserve(checked_mul(checked_mul(rows, mlp.hidden), size_of(mlp.dtype)));
  launch_weigh_blocks({device_blocks(), mlp.num_local_experts, rows, mlp.hidden, mlp.dtype, call.rows.data(),
                       call.row_weights.data(), out},
                      stream);
  return out;
}

void* FastExperts::State::first_layer(ExpertCall const& call, void const* input, std::int64_t rows) {
  std::int64_t const outputs = mlp.first_layer_outputs();
  void* const out = narrow.reserve(checked_mul(checked_mul(rows, outputs), size_of(mlp.dtype)));
  gemm.multiply({call.blocks, mlp.dtype, input, call.weights.w1.data(), out, mlp.hidden, outputs}, stream);
  return out;
}

void const* FastExperts::State::activate(void* values, std::int64_t rows) {
  std::int64_t const count = checked_mul(rows, mlp.first_layer_outputs());
  std::int64_t const units = checked_mul(rows, mlp.local_units());
  ActivationJob job;
  job.blocks = device_blocks();
  job.experts = mlp.num_local_experts;
  job.total_rows = rows;
  job.units = mlp.local_units();
  job.spec = mlp.activation;
  job.rounding = mlp.rounding;
  float* const floats = mlp.dtype == DType::f32 ? nullptr : hidden.reserve_elements<float>(count);
  job.hidden = widened(values, mlp.dtype, floats, count, stream);
  job.activation = activation.reserve_elements<float>(units);
  launch_activation(job, stream);
  return narrowed(job.activation, mlp.dtype, values, units, stream);
}

FastExperts::FastExperts(ExpertMlp const& mlp, StreamView stream) {
  require_offered(mlp);
  state_ = std::make_unique<State>();
  state_->mlp = mlp;
  state_->stream = stream;
}
FastExperts::~FastExperts() = default;

ExpertMlp const& FastExperts::mlp() const noexcept {
  return state_->mlp;
}

void FastExperts::apply(ExpertCall const& call, std::span<std::byte>) const {
  NvtxRange const range("experts");
  require_call(state_->mlp, call);
  std::int64_t const rows = rows_of(state_->mlp, call.rows);
  if (rows == 0 || call.blocks.empty()) return;
  state_->upload_blocks(call.blocks);
  void const* const input = state_->weigh(call, rows);
  void* const hidden = state_->first_layer(call, input, rows);
  void const* const activation = state_->activate(hidden, rows);
  state_->gemm.multiply({call.blocks, state_->mlp.dtype, activation, call.weights.w2.data(), call.output.data(),
                         state_->mlp.local_units(), state_->mlp.hidden},
                        state_->stream);
}

}  // namespace switchyard::cuda
