// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/quantize.hpp"

#include <algorithm>
#include <span>

#include "cuda_error.hpp"
#include "nvtx_range.hpp"
#include "quantize_kernels.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

std::span<std::byte const> bytes_of(DeviceBuffer const& buffer) {
  return {buffer.as<std::byte const>(), to_size(buffer.size_bytes())};
}

DeviceBuffer copy_span(std::span<std::byte const> host, StreamView stream) {
  DeviceBuffer device(static_cast<std::int64_t>(host.size()));
  copy_to_device(host, device, stream);
  return device;
}

/// The scale is measured first: magnitudes are compared as integers, so their order does not matter.
void quantize_dynamic(QuantizeJob job, StreamView stream) {
  SWITCHYARD_CUDA_TRY(cudaMemsetAsync(job.scales, 0, sizeof(float), stream.handle()));
  launch_tensor_scale(job, stream);
  job.given_scale = reinterpret_cast<float const*>(job.scales);
  launch_quantize_scaled(job, stream);
}

}  // namespace

void launch_quantize(QuantSpec const& spec, QuantizeParams const& params, StreamView stream) {
  NvtxRange const range("quantize");
  spec.validate();
  if (params.rows <= 0 || params.columns <= 0) return;
  QuantSizes const sizes = quant_sizes(spec.layout(), params.rows, params.columns);
  QuantizeJob job;
  job.scheme = spec.scheme;
  job.dtype = params.dtype;
  job.values = params.values;
  job.rows = params.rows;
  job.columns = params.columns;
  job.group = spec.layout().group_columns == 0 ? params.columns : spec.layout().group_columns;
  job.codes = reinterpret_cast<std::uint8_t*>(params.codes);
  job.scales = reinterpret_cast<std::uint8_t*>(params.scales);
  job.code_stride = params.code_stride_bytes == 0 ? sizes.code_row_bytes : params.code_stride_bytes;
  std::int64_t const scale_row_bytes = spec.scales_per_row() ? sizes.scale_bytes / params.rows : 0;
  job.scale_stride = params.scale_stride_bytes == 0 ? scale_row_bytes : params.scale_stride_bytes;
  job.packed = job.code_stride == sizes.code_row_bytes && job.scale_stride == scale_row_bytes;
  job.parameters = {spec.given_scale, spec.upper_bound, spec.tensor_scale};
  job.inverse_tensor_scale = hd::div_rn(1.0f, spec.tensor_scale);
  if (spec.scheme == QuantScheme::fp8_tensor_dynamic) return quantize_dynamic(job, stream);
  if (spec.scheme == QuantScheme::fp8_tensor) return launch_quantize_scaled(job, stream);
  if (job.group >= job.columns) return launch_quantize_whole_rows(job, stream);
  launch_quantize_groups(job, stream);
}

void launch_dequantize(QuantizedView const& matrix, float* out, StreamView stream) {
  NvtxRange const range("dequantize");
  matrix.validate();
  launch_dequantize_kernel(coded_matrix(matrix), matrix.rows, out, stream);
}

CodedMatrix coded_matrix(QuantizedView const& matrix) {
  QuantSizes const sizes = quant_sizes(matrix.layout, matrix.rows, matrix.columns);
  CodedMatrix coded;
  coded.codes = matrix.codes.data();
  coded.scales = matrix.scales.data();
  coded.zero_points = matrix.layout.zero_points ? matrix.zero_points.data() : nullptr;
  coded.tensor_scale = matrix.tensor_scale;
  coded.has_tensor_scale = matrix.layout.tensor_scale;
  coded.code = matrix.layout.code;
  coded.scale = matrix.layout.scale;
  coded.columns = matrix.columns;
  coded.group_rows = matrix.layout.group_rows == 0 ? std::max<std::int64_t>(matrix.rows, 1) : matrix.layout.group_rows;
  coded.group_columns =
      matrix.layout.group_columns == 0 ? std::max<std::int64_t>(matrix.columns, 1) : matrix.layout.group_columns;
  coded.column_groups = sizes.column_groups;
  coded.code_row_bytes = sizes.code_row_bytes;
  return coded;
}

DeviceQuantizedMatrix DeviceQuantizedMatrix::make(QuantSpec const& spec, std::int64_t rows, std::int64_t columns) {
  spec.validate();
  DeviceQuantizedMatrix matrix;
  matrix.layout = spec.layout();
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.tensor_scale = spec.tensor_scale;
  QuantSizes const sizes = quant_sizes(matrix.layout, rows, columns);
  matrix.codes = DeviceBuffer(sizes.code_bytes);
  matrix.scales = DeviceBuffer(sizes.scale_bytes);
  matrix.zero_points = DeviceBuffer(sizes.zero_point_bytes);
  return matrix;
}

DeviceQuantizedMatrix DeviceQuantizedMatrix::copy_of(QuantizedView const& host, StreamView stream) {
  host.validate();
  DeviceQuantizedMatrix matrix;
  matrix.layout = host.layout;
  matrix.rows = host.rows;
  matrix.columns = host.columns;
  matrix.tensor_scale = host.tensor_scale;
  matrix.codes = copy_span(host.codes, stream);
  matrix.scales = copy_span(host.scales, stream);
  matrix.zero_points = copy_span(host.zero_points, stream);
  stream.synchronize();
  return matrix;
}

QuantizedView DeviceQuantizedMatrix::view() const noexcept {
  return {layout, rows, columns, bytes_of(codes), bytes_of(scales), bytes_of(zero_points), tensor_scale};
}

QuantizedMatrix DeviceQuantizedMatrix::to_host(StreamView stream) const {
  QuantizedMatrix matrix;
  matrix.layout = layout;
  matrix.rows = rows;
  matrix.columns = columns;
  matrix.codes = download<std::byte>(codes, stream);
  matrix.scales = download<std::byte>(scales, stream);
  matrix.zero_points = download<std::byte>(zero_points, stream);
  matrix.tensor_scale = tensor_scale;
  return matrix;
}

void quantize(QuantSpec const& spec, ConstTensorView const& values, DeviceQuantizedMatrix& out, StreamView stream) {
  SWITCHYARD_REQUIRE(out.layout == spec.layout(), shape_mismatch,
                     "the device matrix to write was not made for quantisation {}: its codes are {}",
                     to_string(spec.scheme), to_string(out.layout.code));
  SWITCHYARD_REQUIRE(values.space() == MemorySpace::device && values.shape().contiguous(), shape_mismatch,
                     "values to quantise by {} must be contiguous device memory", to_string(spec.scheme));
  SWITCHYARD_REQUIRE(values.shape().rank() == 2 && values.extent(0) == out.rows && values.extent(1) == out.columns,
                     shape_mismatch, "{} values to quantise for a matrix of {} x {}", values.shape().num_elements(),
                     out.rows, out.columns);
  out.view().validate();
  out.tensor_scale = spec.tensor_scale;
  launch_quantize(
      spec,
      {values.data(), values.dtype(), out.rows, out.columns, out.codes.as<std::byte>(), out.scales.as<std::byte>()},
      stream);
}

}  // namespace switchyard::cuda
