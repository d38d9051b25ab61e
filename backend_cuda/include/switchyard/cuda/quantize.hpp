// SPDX-License-Identifier: Apache-2.0
/// Quantisers on the device: rows of floats to codes and scales and back, with the CPU's bytes. No CUDA header needed.
#pragma once

#include <cstddef>
#include <cstdint>

#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/stream.hpp"
#include "switchyard/experts/quantization.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cuda {

/// Operands of launch_quantize(): device memory, not overlapping.
struct QuantizeParams {
  void const* values;  ///< [rows, columns] contiguous
  DType dtype;         ///< f32, bf16 or f16
  std::int64_t rows;
  std::int64_t columns;
  std::byte* codes;   ///< as QuantizedView says, rows `code_stride_bytes` apart
  std::byte* scales;  ///< rows `scale_stride_bytes` apart; one value when all rows share it
  /// Where the next row's codes and scales lie, so that both can be written into one packet per row; 0 = contiguous.
  std::int64_t code_stride_bytes = 0;
  std::int64_t scale_stride_bytes = 0;
};

/// Bytes equal cpu::quantize's. One pass over the values, but two for fp8_tensor_dynamic; fastest where the columns are
/// a multiple of 16, groups are 16, 32, ... 512 columns or whole rows of at most 32,768, and addresses are multiples of
/// 16: anything else takes a plain kernel. Asynchronous in `stream`, no allocation, capturable.
/// @throws Error{unsupported} for another dtype, Error{invalid_argument} for a spec that cannot be, Error{cuda}
void launch_quantize(QuantSpec const& spec, QuantizeParams const& params, StreamView stream);

/// Every element of a matrix whose spans are device memory, as [rows, columns] floats: the bits of cpu::dequantize.
/// Asynchronous in `stream`, no allocation, capturable. @throws Error{shape_mismatch}, Error{cuda}
void launch_dequantize(QuantizedView const& matrix, float* out, StreamView stream);

/// A quantised matrix in device memory that owns its parts.
struct DeviceQuantizedMatrix {
  QuantLayout layout{};
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  DeviceBuffer codes{};
  DeviceBuffer scales{};
  DeviceBuffer zero_points{};
  float tensor_scale = 1.0f;

  /// Room for what the spec makes; contents undefined. @throws as QuantizedMatrix::make, Error{out_of_memory, cuda}
  [[nodiscard]] static DeviceQuantizedMatrix make(QuantSpec const& spec, std::int64_t rows, std::int64_t columns);
  /// A copy of a matrix on the host. Returns when the copy is done.
  [[nodiscard]] static DeviceQuantizedMatrix copy_of(QuantizedView const& host, StreamView stream);
  /// The spans are device memory.
  [[nodiscard]] QuantizedView view() const noexcept;
  [[nodiscard]] QuantizedMatrix to_host(StreamView stream) const;
};

/// launch_quantize() with its operands checked. @param values [rows, columns] contiguous device memory
/// @param out as DeviceQuantizedMatrix::make(spec, rows, columns) leaves it; every byte of it is written
/// @throws Error{shape_mismatch} when `out` was made for another shape or layout, or `values` lie on the host
void quantize(QuantSpec const& spec, ConstTensorView const& values, DeviceQuantizedMatrix& out, StreamView stream);

}  // namespace switchyard::cuda
