// SPDX-License-Identifier: Apache-2.0
/// CodedCall: a call of e4m3 codes for the fast and the exact engine, with a scale per matrix, per line, or per block
/// of 128 columns (weights: 128 x 128).
#pragma once

#include <algorithm>
#include <cstring>

#include "cuda_fast_cases.hpp"
#include "graph_replay.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/cuda/quantize.hpp"

namespace cross_backend {

using switchyard::QuantizedMatrix;
using switchyard::QuantizedView;
using switchyard::QuantScheme;
using switchyard::QuantSpec;

inline constexpr std::int64_t kScaleSide = 128;

/// Codes with one scale, absmax / 448, per 128 x 128 values.
inline QuantizedMatrix square_codes(ConstTensorView const& values, std::vector<float> const& floats) {
  QuantizedMatrix matrix;
  matrix.layout.group_rows = matrix.layout.group_columns = kScaleSide;
  matrix.rows = values.extent(0);
  matrix.columns = values.extent(1);
  auto const sizes = quant_sizes(matrix.layout, matrix.rows, matrix.columns);
  std::vector<float> scales(static_cast<std::size_t>(sizes.row_groups * sizes.column_groups));
  auto const each = [&](auto const& body) {
    for (std::int64_t row = 0; row < matrix.rows; ++row)
      for (std::int64_t column = 0; column < matrix.columns; ++column)
        body(static_cast<std::size_t>(row * matrix.columns + column),
             static_cast<std::size_t>(row / kScaleSide * sizes.column_groups + column / kScaleSide));
  };
  each([&](std::size_t at, std::size_t block) {
    scales[block] = std::max(scales[block], std::abs(floats[at]) / 448.0F);
  });
  matrix.codes.resize(floats.size());
  each([&](std::size_t at, std::size_t block) {
    auto const code = switchyard::hd::round_to_e4m3(floats[at] / scales[block], switchyard::Saturation::saturate);
    std::memcpy(&matrix.codes[at], &code, 1);
  });
  auto const bytes = std::as_bytes(std::span(scales));
  matrix.scales.assign(bytes.begin(), bytes.end());
  return matrix;
}

/// One layer's matrices as codes on the device.
struct DeviceCodes {
  std::vector<cuda::DeviceQuantizedMatrix> matrices{};
  std::vector<QuantizedView> views{};

  DeviceCodes(Matrix const& all, int matrices_in_it, QuantSpec const& spec, bool square, cuda::StreamView stream) {
    std::int64_t const lines = all.rows() / matrices_in_it;
    for (int i = 0; i < matrices_in_it; ++i) {
      ConstTensorView const part(all.bytes.data() + i * lines * all.columns * size_of(all.dtype), all.dtype,
                                 {lines, all.columns});
      auto const first = all.values.begin() + i * lines * all.columns;
      auto const codes =
          square ? square_codes(part, {first, first + lines * all.columns}) : switchyard::cpu::quantize(spec, part);
      matrices.push_back(cuda::DeviceQuantizedMatrix::copy_of(codes.view(), stream));
    }
    for (auto const& matrix : matrices) views.push_back(matrix.view());
  }
};

struct CodedCall {
  Matrix rows, w1, w2;
  QuantSpec spec;
  bool brought = false;  ///< rows come as codes
  Matrix b1{}, b2{};     ///< values only when biased
  bool biased = false;

  [[nodiscard]] Bytes run(switchyard::Experts const& engine, std::vector<RowBlock> const& blocks,
                          cuda::StreamView stream, bool* captured = nullptr) const {
    bool const square = spec.layout().group_columns == kScaleSide;
    int const experts = engine.mlp().num_local_experts;
    DeviceCodes const first(w1, experts, spec, square, stream);
    DeviceCodes const second(w2, experts, spec, square, stream);
    DeviceCodes const codes(rows, 1, spec, false, stream);
    DeviceMatrix const input(rows, stream);
    DeviceMatrix const first_bias(b1, stream), second_bias(b2, stream);
    DeviceMatrix const output(output_dtype(engine.mlp()), rows.rows(), rows.columns, stream);
    switchyard::ExpertCall call;
    call.rows = input.view();
    if (brought) call.row_codes = codes.views.data();
    call.blocks = blocks;
    call.weights.w1_codes = first.views;
    call.weights.w2_codes = second.views;
    if (biased) call.weights.b1 = first_bias.view();
    if (biased) call.weights.b2 = second_bias.view();
    call.output = output.view();
    engine.apply(call, {});
    if (captured != nullptr) *captured = replay(stream, 2, [&] { engine.apply(call, {}); });
    return cuda::download<std::byte>(output.buffer, stream);
  }
};

/// |a - b| over |a|, both as Euclidean norms of bf16 values.
inline double relative_difference(Bytes const& a, Bytes const& b) {
  double off = 0;
  double size = 0;
  for (std::size_t i = 0; i < a.size(); i += 2) {
    auto const x = static_cast<double>(support::fetch(DType::bf16, a.data() + i));
    auto const y = static_cast<double>(support::fetch(DType::bf16, b.data() + i));
    off += (x - y) * (x - y);
    size += x * x;
  }
  return std::sqrt(off / size);
}

}  // namespace cross_backend
