// SPDX-License-Identifier: Apache-2.0
// One scale for a whole matrix, given or measured, and the way back from codes to floats.
#include "coded_matrix.cuh"
#include "dtype_switch.cuh"
#include "quantize_groups.cuh"

namespace switchyard::cuda {

namespace {

constexpr QuantScheme kGiven = QuantScheme::fp8_tensor;

/// Eight values per thread where `wide`, else one; codes without gaps.
template <typename T>
__global__ void scaled_kernel(QuantizeJob job, bool wide) {
  hd::QuantParameters parameters = job.parameters;
  if (job.given_scale != nullptr) parameters.given_scale = *job.given_scale;
  hd::GroupScale const scale = hd::group_scale<kGiven>(0.0f, parameters);
  SharedFactor const scaling{scale.factor, false};
  if (job.given_scale == nullptr && first_item() == 0) store_scale<kGiven>(job.scales, 0, scale);
  T const* const values = static_cast<T const*>(job.values);
  std::int64_t const count = job.rows * job.columns;
  for (std::int64_t i = first_item(); i < (wide ? count / 8 : count); i += item_stride()) {
    if (wide) {
      float x[8];
      std::uint32_t words[2];
      widen_eight(load_eight(values + 8 * i), x);
      encode_eight<kGiven>(x, scaling, words);
      store_codes<kGiven>(job.codes, 8 * i, words);
    } else {
      std::uint8_t* const row = job.codes + i / job.columns * job.code_stride;
      row[i % job.columns] = static_cast<std::uint8_t>(encode_one<kGiven>(hd::widen(values[i]), scale));
    }
  }
}

/// Blocks of the kernel that measures: few, so that their results do not queue for one address.
constexpr unsigned kMeasuringBlocks = 1024;

/// Eight values per thread where `wide`. Integers are compared: any order gives the same.
template <typename T>
__global__ void tensor_absmax_kernel(T const* values, std::int64_t count, bool wide, std::uint32_t* largest_float) {
  __shared__ std::uint32_t of_block;
  if (threadIdx.x == 0) of_block = 0;
  __syncthreads();
  std::uint32_t largest = 0;
  for (std::int64_t i = first_item(); i < (wide ? count / 8 : count); i += item_stride()) {
    if (wide) {
      EightValues<T> const eight = load_eight(values + 8 * i);
      std::uint32_t bits = largest_bits(eight);
      if (bits > kInfinityBits<T>) bits = largest_number_bits(eight);
      bits = __float_as_uint(number_of<T>(bits));
      largest = largest < bits ? bits : largest;
    } else {
      std::uint32_t const bits = __float_as_uint(hd::widen(values[i])) & 0x7fffffffu;
      if (bits <= 0x7f800000u && bits > largest) largest = bits;
    }
  }
  __syncwarp();
  largest = largest_of_lanes(largest, 32);
  if (threadIdx.x % 32 == 0) atomicMax(&of_block, largest);
  __syncthreads();
  if (threadIdx.x == 0) atomicMax(largest_float, of_block);
}

__global__ void dynamic_scale_kernel(float* scale) {
  *scale = hd::group_scale<QuantScheme::fp8_tensor_dynamic>(*scale, hd::QuantParameters{}).stored;
}

__global__ void dequantize_kernel(CodedMatrix matrix, std::int64_t rows, float* out) {
  for (std::int64_t i = first_item(); i < rows * matrix.columns; i += item_stride())
    out[i] = value_at(matrix, i / matrix.columns, i % matrix.columns);
}

/// Codes of four neighbours: a word, or half of one where a byte holds two.
struct alignas(4) FourCodes {
  std::byte bytes[4];
};
template <typename Codes>
__device__ float4 four_values(Codes const& codes, FourCodes const& word, float scale) {
  return {hd::dequantize(codes(word.bytes, 0), scale), hd::dequantize(codes(word.bytes, 1), scale),
          hd::dequantize(codes(word.bytes, 2), scale), hd::dequantize(codes(word.bytes, 3), scale)};
}
__device__ float4 four_values(CodedMatrix const& matrix, FourCodes const& word, CodeGroup const& group) {
  switch (matrix.code) {
    case CodeFormat::e4m3: return four_values(hd::E4m3Codes{}, word, group.scale);
    case CodeFormat::int8: return four_values(hd::Int8Codes{}, word, group.scale);
    case CodeFormat::uint8: return four_values(hd::Uint8Codes{group.zero_point}, word, group.scale);
    case CodeFormat::e2m1: return four_values(hd::E2m1Codes{}, word, group.scale);
    case CodeFormat::uint4: return four_values(hd::Uint4Codes{group.zero_point}, word, group.scale);
  }
  return {};
}

/// A row per block, four neighbours of one group per thread. @tparam Half  a byte holds two codes
template <bool Half>
__global__ void dequantize_fours_kernel(CodedMatrix matrix, std::int64_t rows, float* out) {
  auto const columns = static_cast<unsigned>(matrix.columns);
  auto const group_columns = static_cast<unsigned>(matrix.group_columns);
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    std::byte const* const codes = matrix.codes + row * matrix.code_row_bytes;
    auto* const values = reinterpret_cast<float4*>(out + row * matrix.columns);
#pragma unroll 2
    for (unsigned four = threadIdx.x; four < columns / 4; four += blockDim.x) {
      std::uint32_t const word = Half ? reinterpret_cast<std::uint16_t const*>(codes)[four]
                                      : reinterpret_cast<std::uint32_t const*>(codes)[four];
      CodeGroup const group = group_at(matrix, row, 4 * four / group_columns);
      __stcs(values + four, four_values(matrix, __builtin_bit_cast(FourCodes, word), group));
    }
  }
}

bool fits_fours(CodedMatrix const& matrix, float const* out) {
  auto const places =
      reinterpret_cast<std::uintptr_t>(matrix.codes) | static_cast<std::uintptr_t>(matrix.code_row_bytes);
  constexpr std::int64_t kMostColumns = std::int64_t{1} << 30;
  return matrix.columns % 4 == 0 && matrix.columns <= kMostColumns && matrix.group_columns % 4 == 0 &&
         places % 4 == 0 && reinterpret_cast<std::uintptr_t>(out) % sizeof(float4) == 0;
}

}  // namespace

void launch_quantize_scaled(QuantizeJob const& job, StreamView stream) {
  std::int64_t const count = job.rows * job.columns;
  bool const wide = fits_sixteen(job) && job.packed;
  by_row_dtype(job.dtype, [&](auto value) {
    scaled_kernel<decltype(value)>
        <<<grid_blocks(wide ? count / 8 : count), kBlockThreads, 0, stream.handle()>>>(job, wide);
  });
  check_launch("scaled_kernel");
}

void launch_tensor_scale(QuantizeJob const& job, StreamView stream) {
  std::int64_t const count = job.rows * job.columns;
  bool const wide = count % 8 == 0 && reinterpret_cast<std::uintptr_t>(job.values) % 16 == 0;
  by_row_dtype(job.dtype, [&](auto value) {
    using T = decltype(value);
    unsigned const wanted = grid_blocks(wide ? count / 8 : count);
    unsigned const blocks = wanted < kMeasuringBlocks ? wanted : kMeasuringBlocks;
    tensor_absmax_kernel<<<blocks, kBlockThreads, 0, stream.handle()>>>(static_cast<T const*>(job.values), count, wide,
                                                                        reinterpret_cast<std::uint32_t*>(job.scales));
  });
  dynamic_scale_kernel<<<1, 1, 0, stream.handle()>>>(reinterpret_cast<float*>(job.scales));
  check_launch("tensor_absmax_kernel");
}

void launch_dequantize_kernel(CodedMatrix const& matrix, std::int64_t rows, float* out, StreamView stream) {
  if (rows <= 0 || matrix.columns <= 0) return;
  constexpr std::int64_t kMostBlocks = 65535;
  auto const blocks = static_cast<unsigned>(rows < kMostBlocks ? rows : kMostBlocks);
  bool const is_half = matrix.code == CodeFormat::e2m1 || matrix.code == CodeFormat::uint4;
  if (!fits_fours(matrix, out)) {
    dequantize_kernel<<<grid_blocks(rows * matrix.columns), kBlockThreads, 0, stream.handle()>>>(matrix, rows, out);
  } else if (is_half) {
    dequantize_fours_kernel<true><<<blocks, kBlockThreads, 0, stream.handle()>>>(matrix, rows, out);
  } else {
    dequantize_fours_kernel<false><<<blocks, kBlockThreads, 0, stream.handle()>>>(matrix, rows, out);
  }
  check_launch("dequantize_kernel");
}

}  // namespace switchyard::cuda
