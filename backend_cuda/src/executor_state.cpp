// SPDX-License-Identifier: Apache-2.0
#include "executor_state.hpp"

#include <algorithm>

#include "cuda_error.hpp"
#include "nvtx_range.hpp"
#include "switchyard/cuda/convert.hpp"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "system_probe.hpp"

namespace switchyard::cuda {
namespace {

constexpr std::int64_t kFloatBytes = sizeof(float);

void widen_rows(ConstRows in, DType dtype, Rows out, StreamView stream) {
  std::int64_t const count = in.count * in.row_bytes / size_of(dtype);
  auto* const floats = static_cast<float*>(out.data);
  if (dtype == DType::bf16) return launch_widen<bf16_t>({static_cast<bf16_t const*>(in.data), floats, count}, stream);
  launch_widen<f16_t>({static_cast<f16_t const*>(in.data), floats, count}, stream);
}

void narrow_rows(ConstRows in, DType dtype, Rows out, StreamView stream) {
  std::int64_t const count = in.count * in.row_bytes / kFloatBytes;
  auto const* const floats = static_cast<float const*>(in.data);
  if (dtype == DType::bf16) return launch_narrow<bf16_t>({floats, static_cast<bf16_t*>(out.data), count}, stream);
  launch_narrow<f16_t>({floats, static_cast<f16_t*>(out.data), count}, stream);
}

void const* row_at(ConstRows rows, std::int64_t row) {
  return static_cast<std::byte const*>(rows.data) + row * rows.row_bytes;
}
void* row_at(Rows rows, std::int64_t row) {
  return static_cast<std::byte*>(rows.data) + row * rows.row_bytes;
}

bool adds(DeviceStep const& step) {
  return std::holds_alternative<TreeStep>(step.step);
}

/// Whether `step` takes fp32 rows only.
bool takes_floats(DeviceStep const& step) {
  auto const* const move = std::get_if<MoveStep>(&step.step);
  return adds(step) || (move != nullptr && move->of_partials);
}

/// Copies rows by a step's map.
void launch_step(DeviceStep const& step, ConstRows in, Rows out, std::int64_t max_blocks, StreamView stream) {
  if (step.places.num_sources > 0)
    return launch_scatter_rows(
        {in.data, out.data, step.places.begin.as<std::int64_t const>(), step.places.places.as<std::int32_t const>(),
         step.places.num_sources, out.row_bytes, max_blocks},
        stream);
  GatherRowsParams params{in.data, out.data, nullptr, out.count, out.row_bytes};
  params.max_blocks = max_blocks;
  if (step.map.is_wide) {
    params.map = step.map.data.as<std::int64_t const>();
  } else {
    params.map32 = step.map.data.as<std::int32_t const>();
  }
  launch_gather_rows(params, stream);
}

}  // namespace

std::int64_t require_matrix(char const* name, ConstTensorView const& view, std::int64_t rows, RankId rank) {
  SWITCHYARD_REQUIRE(view.shape().rank() == 2 && view.extent(0) == rows, shape_mismatch,
                     "{} of rank {} must be a matrix of {} rows, got {} dimensions and {} rows", name, rank.value(),
                     rows, view.shape().rank(), view.shape().rank() > 0 ? view.extent(0) : 0);
  SWITCHYARD_REQUIRE(view.space() == MemorySpace::device && view.shape().contiguous(), shape_mismatch,
                     "{} of rank {} must be contiguous device memory", name, rank.value());
  return view.extent(1);
}

void require_same_hidden(std::int64_t first, std::int64_t second, RankId rank) {
  SWITCHYARD_REQUIRE(first == second, shape_mismatch, "rank {} passes hidden sizes {} and {} in one call", rank.value(),
                     first, second);
}

void require_row_dtype(DType dtype, RankId rank) {
  SWITCHYARD_REQUIRE(dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16, unsupported,
                     "rank {} passes {} rows: rows are f32, bf16 or f16", rank.value(), to_string(dtype));
}

ConstRows rows_of(ConstTensorView const& view) {
  return {view.data(), view.extent(0), view.extent(1) * size_of(view.dtype())};
}
Rows rows_of(TensorView const& view) {
  return {view.data(), view.extent(0), view.extent(1) * size_of(view.dtype())};
}

void convert_rows(ConstRows in, DType in_dtype, Rows out, DType out_dtype, StreamView stream) {
  if (in_dtype != out_dtype && out_dtype == DType::f32) return widen_rows(in, in_dtype, out, stream);
  if (in_dtype != out_dtype) return narrow_rows(in, out_dtype, out, stream);
  if (in.count * in.row_bytes == 0) return;
  SWITCHYARD_CUDA_TRY(
      cudaMemcpyAsync(out.data, in.data, to_size(in.count * in.row_bytes), cudaMemcpyDeviceToDevice, stream.handle()));
}

TreeBias tree_bias(StepContext const& context, std::optional<ConstTensorView> const& bias, bool in_shares) {
  if (!bias || bias->shape().num_elements() == 0) return {};
  return {bias->data(), bias->dtype(), context.lists.joined_experts(in_shares).as<std::int32_t const>(),
          context.hidden};
}

CudaExecutor::State::State(DeviceCommunicator& communicator)
    : comm(communicator), first_nan(sizeof(std::uint64_t)), first_nan_host(sizeof(std::uint64_t)) {
  require_device_code("a CudaExecutor");
  Stream const stream;
  fill_bytes(first_nan, 0xff, stream);
  stream.view().synchronize();
}

void CudaExecutor::State::require_plan(DispatchPlan const& plan) const {
  SWITCHYARD_REQUIRE(plan.rank == comm.rank() && plan.setup.grid.world() == comm.size(), invalid_argument,
                     "the plan is for rank {} of {}, the communicator is rank {} of {}", plan.rank.value(),
                     plan.setup.grid.world(), comm.rank().value(), comm.size());
}

Rows CudaExecutor::State::next_rows(std::int64_t count, std::int64_t row_bytes) {
  turn = 1 - turn;
  return {alternating[turn].reserve(checked_mul(count, row_bytes)), count, row_bytes};
}

ConstRows CudaExecutor::State::as_dtype(ConstRows in, DType in_dtype, DType dtype, StreamView stream) {
  if (in_dtype == dtype) return in;
  std::int64_t const row_bytes = in.row_bytes / size_of(in_dtype) * size_of(dtype);
  Rows const converted{results.reserve(checked_mul(in.count, row_bytes)), in.count, row_bytes};
  convert_rows(in, in_dtype, converted, dtype, stream);
  return converted;
}

void CudaExecutor::State::move(MoveCall const& call, MoveStep const& step, ConstRows in, Rows out) {
  NvtxRange const range("exchange");
  sends.clear();
  receives.clear();
  for (RowBlock const& block : step.sends)
    sends.push_back({block.peer, row_at(in, block.first_row), checked_mul(block.rows, in.row_bytes)});
  for (RowBlock const& block : step.receives)
    receives.push_back({block.peer, row_at(out, block.first_row), checked_mul(block.rows, out.row_bytes)});
  comm.exchange_on(call.stream, sends, receives, {step.operation, call.configuration, call.deadline});
}

void CudaExecutor::State::gather(StepContext const& context, DeviceStep const& step, ConstRows in, Rows out) {
  NvtxRange const range("permute");
  launch_step(step, in, out, kAnyBlocks, context.stream);
}

void CudaExecutor::State::move_beside_own(StepContext const& context, MoveStep const& step, ConstRows in, Rows out,
                                          DeviceStep const& own, ConstRows own_in, Rows own_out) {
  forked.view().record(context.stream);
  move(context, step, in, out);
  beside.view().wait(forked.view());
  launch_step(own, own_in, own_out, kBlocksBeside, beside);
  passed.view().record(beside);
}

ConstRows CudaExecutor::State::carry(StepContext const& context, DevicePath const& path, ConstRows current,
                                     Rows const* last_out) {
  if (path.own) return carry_forked(context, path, current, last_out);
  for (std::size_t i = 0; i < path.steps.size(); ++i) {
    DeviceStep const& next = path.steps[i];
    bool const is_last = last_out != nullptr && i + 1 == path.steps.size();
    Rows const out = is_last ? *last_out : next_rows(next.rows, current.row_bytes);
    if (auto const* step = std::get_if<MoveStep>(&next.step)) {
      move(context, *step, current, out);
    } else {
      gather(context, next, current, out);
    }
    current = out;
  }
  return current;
}

ConstRows CudaExecutor::State::carry_forked(StepContext const& context, DevicePath const& path, ConstRows input,
                                            Rows const* last_out) {
  std::int64_t const rows = path.steps.back().rows;
  Rows const out =
      last_out != nullptr ? *last_out : Rows{landed.reserve(checked_mul(rows, input.row_bytes)), rows, input.row_bytes};
  ConstRows current = input;
  for (DeviceStep const& step : path.steps) {
    bool const is_last = &step == &path.steps.back();
    if (auto const* moved = std::get_if<MoveStep>(&step.step)) {
      // Not an alternating buffer: one of them may hold the input, which own rows are still read from.
      Rows const target =
          is_last ? out : Rows{arrived.reserve(checked_mul(step.rows, input.row_bytes)), step.rows, input.row_bytes};
      move_beside_own(context, *moved, current, target, *path.own, input, out);
      current = target;
    } else {
      Rows const target = is_last ? out : next_rows(step.rows, input.row_bytes);
      gather(context, step, current, target);
      current = target;
    }
  }
  context.stream.wait(passed.view());
  return out;
}

ConstRows CudaExecutor::State::bring_home(StepContext const& context, ConstRows current, DType current_dtype,
                                          DType dtype, std::optional<ConstTensorView> const& join_bias) {
  DevicePath const& path = context.lists.home;
  bool const joins = std::any_of(path.steps.begin(), path.steps.end(), adds);
  auto const convert = [&](DType wanted) {
    Rows const converted = next_rows(current.count, context.hidden * size_of(wanted));
    convert_rows(current, current_dtype, converted, wanted, context.stream);
    current = converted;
    current_dtype = wanted;
  };
  if (!joins && current_dtype != dtype) convert(dtype);
  if (path.own) return carry_forked(context, path, current, nullptr);
  for (DeviceStep const& step : path.steps) {
    if (takes_floats(step) && current_dtype != DType::f32) convert(DType::f32);
    Rows const out = next_rows(step.rows, context.hidden * size_of(adds(step) ? dtype : current_dtype));
    if (auto const* moved = std::get_if<MoveStep>(&step.step)) {
      move(context, *moved, current, out);
    } else if (auto const* tree = std::get_if<TreeStep>(&step.step)) {
      // What a tree adds was moved or widened before: it lies in scratch memory, which the sum may overwrite.
      launch_tree_sum({static_cast<float*>(const_cast<void*>(current.data)), tree->rows * context.hidden, tree->terms,
                       out.data, dtype, tree_bias(context, join_bias, false)},
                      context.stream);
      current_dtype = dtype;
    } else {
      gather(context, step, current, out);
    }
    current = out;
  }
  return current;
}

void const* CudaExecutor::State::weights_of(StepContext const& context, DeviceTerms const& terms, void const* weights,
                                            bool f64, bool as_f64, bool watch_nan) {
  NvtxRange const range("gather weights");
  std::int64_t const bytes = as_f64 ? std::int64_t{sizeof(double)} : kFloatBytes;
  GatherWeightsParams params{};
  params.weights = weights;
  params.weights_f64 = f64;
  params.output = term_weights.reserve(checked_mul(terms.num_terms, bytes));
  params.output_f64 = as_f64;
  params.index = terms.weight_index.as<std::int64_t const>();
  params.count = terms.num_terms;
  params.first_nan = watch_nan ? first_nan.as<unsigned long long>() : nullptr;
  if (watch_nan) last_columns = context.lists.plan.slot_columns;
  launch_gather_weights(params, context.stream);
  return params.output;
}

}  // namespace switchyard::cuda
