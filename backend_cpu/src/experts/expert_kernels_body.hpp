// SPDX-License-Identifier: Apache-2.0
/// The hot loops of the exact expert engine, written once. Each expert_kernels_<target>.cpp includes this with
/// SWITCHYARD_TARGET set to its namespace and its own -march, and SWITCHYARD_TARGET_HD for a private copy of the
/// host-device functions (see dispatch/row_kernels_body.hpp for why).
#if !defined(SWITCHYARD_TARGET) || !defined(SWITCHYARD_TARGET_HD)
#error "expert_kernels_body.hpp is only for the expert_kernels_<target>.cpp files"
#endif

#include <algorithm>
#include <cmath>
#include <cstring>

#include "expert_kernels.hpp"
#include "fma_lanes.hpp"
#include "switchyard/experts/expert_mlp.hpp"
#include "switchyard/types/dtype.hpp"
#include "switchyard/types/host_device.hpp"

#define hd SWITCHYARD_TARGET_HD
#include "switchyard/hd/activation.hpp"
#include "switchyard/hd/convert.hpp"
#include "switchyard/hd/tree_sum.hpp"

namespace switchyard::cpu::SWITCHYARD_TARGET {
namespace {

constexpr int kTileRows = FmaLanes::kRows;
constexpr int kTileColumns = FmaLanes::kVectors * FmaLanes::kWidth;
constexpr int kTileSize = kTileRows * kTileColumns;

/// One chain per element of the tile, continued from what the tile holds; all accumulators in registers.
void chain(float const* rows, float const* columns, std::int64_t steps, float* tile) {
  FmaLanes::Vector sums[kTileRows][FmaLanes::kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < FmaLanes::kVectors; ++v)
      sums[r][v] = FmaLanes::load(tile + r * kTileColumns + v * FmaLanes::kWidth);
  for (std::int64_t step = 0; step < steps; ++step, rows += kTileRows, columns += kTileColumns) {
    FmaLanes::Vector lanes[FmaLanes::kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < FmaLanes::kVectors; ++v) lanes[v] = FmaLanes::load(columns + v * FmaLanes::kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < kTileRows; ++r) {
      FmaLanes::Vector const factor = FmaLanes::repeat(rows[r]);
#pragma GCC unroll 16
      for (int v = 0; v < FmaLanes::kVectors; ++v) sums[r][v] = FmaLanes::fma(factor, lanes[v], sums[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kTileRows; ++r)
#pragma GCC unroll 16
    for (int v = 0; v < FmaLanes::kVectors; ++v)
      FmaLanes::store(tile + r * kTileColumns + v * FmaLanes::kWidth, sums[r][v]);
}

void chain_tile(ChainTile const& tile) {
  alignas(64) float partials[kIntermediateBlocks * kTileSize];
  std::fill_n(partials, std::max<std::int64_t>(tile.segments, 1) * kTileSize, 0.0f);
  if (tile.accumulate)
    for (std::int64_t r = 0; r < tile.used_rows; ++r)
      std::copy_n(tile.out + r * tile.out_stride, tile.used_columns, partials + r * kTileColumns);
  std::int64_t begin = 0;
  for (std::int64_t segment = 0; segment < tile.segments; ++segment) {
    std::int64_t const end = tile.segment_ends[segment];
    chain(tile.rows + begin * kTileRows, tile.columns + begin * kTileColumns, end - begin,
          partials + segment * kTileSize);
    begin = end;
  }
  hd::tree_sum_in_place(partials, kTileSize, tile.segments, kTileSize);
  for (std::int64_t r = 0; r < tile.used_rows; ++r)
    for (std::int64_t c = 0; c < tile.used_columns; ++c)
      tile.out[r * tile.out_stride + c] = hd::canonical(partials[r * kTileColumns + c]);
}

template <typename Function>
void with_dtype(DType dtype, Function const& function) {
  if (dtype == DType::f32) return function(float{});
  if (dtype == DType::bf16) return function(bf16_t{});
  function(f16_t{});
}

/// Lanes next to each other in memory: every step copies a run of them.
template <typename T>
void pack_runs(PanelSource const& source, std::int64_t width, float* panel) {
  T const* const data = static_cast<T const*>(source.data);
  for (std::int64_t k = 0; k < source.steps; ++k, panel += width) {
    T const* const run = data + (source.order == nullptr ? k : source.order[k]) * source.step_stride;
    for (std::int64_t lane = 0; lane < source.lanes; ++lane) panel[lane] = hd::widen(run[lane]);
  }
}

/// One element of a panel's source.
template <typename T>
float packed_value(PanelSource const& source, std::int64_t lane, std::int64_t step) {
  std::int64_t const at = source.order == nullptr ? step : source.order[step];
  return hd::widen(static_cast<T const*>(source.data)[lane * source.lane_stride + at * source.step_stride]);
}

/// kWidth values next to each other. A NaN keeps its payload: what comes out of a chain is made canonical.
FmaLanes::Vector load_run(float const* from) {
  return FmaLanes::load(from);
}
FmaLanes::Vector load_run(bf16_t const* from) {
  typedef std::uint16_t Narrow __attribute__((vector_size(2 * FmaLanes::kWidth)));
  typedef std::uint32_t Wide __attribute__((vector_size(4 * FmaLanes::kWidth)));
  Narrow bits;
  std::memcpy(&bits, from, sizeof bits);
  return reinterpret_cast<FmaLanes::Vector>(__builtin_convertvector(bits, Wide) << 16);
}
FmaLanes::Vector load_run(f16_t const* from) {
  float run[FmaLanes::kWidth];
  for (int i = 0; i < FmaLanes::kWidth; ++i) run[i] = hd::widen(from[i]);
  return FmaLanes::load(run);
}

/// kWidth steps of up to kWidth lanes whose steps lie next to each other, as a square that is turned.
/// @tparam kStored lanes that the panel has room for; those behind `lanes` become +0
template <int kStored, typename T>
void pack_square(T const* from, std::int64_t lane_stride, std::int64_t lanes, std::int64_t width, float* to) {
  constexpr int kWidth = FmaLanes::kWidth;
  FmaLanes::Vector square[kWidth];
#pragma GCC unroll 16
  for (int lane = 0; lane < kWidth; ++lane)
    square[lane] = lane < lanes ? load_run(from + lane * lane_stride) : FmaLanes::repeat(0.0f);
  turn_square(square);
#pragma GCC unroll 16
  for (int k = 0; k < kWidth; ++k) std::memcpy(to + k * width, &square[k], kStored * sizeof(float));
}

/// Lanes apart from each other: squares are turned, so that both sides are read and written in runs. `width` is that of
/// a tile's rows or columns.
template <typename T>
void pack_strided(PanelSource const& source, std::int64_t width, float* panel) {
  constexpr int kWidth = FmaLanes::kWidth;
  constexpr int kRest = kTileRows % kWidth == 0 ? kWidth : kTileRows % kWidth;
  auto const* const data = static_cast<T const*>(source.data);
  std::int64_t k = 0;
  if (source.order == nullptr && source.step_stride == 1)
    for (; k + kWidth <= source.steps; k += kWidth)
      for (std::int64_t lane = 0; lane < source.lanes; lane += kWidth) {
        auto const square = width - lane < kWidth ? pack_square<kRest, T> : pack_square<kWidth, T>;
        square(data + lane * source.lane_stride + k, source.lane_stride, source.lanes - lane, width,
               panel + k * width + lane);
      }
  for (; k < source.steps; ++k)
    for (std::int64_t lane = 0; lane < source.lanes; ++lane) panel[k * width + lane] = packed_value<T>(source, lane, k);
}

void pack(PanelSource const& source, std::int64_t width, float* panel) {
  if (source.lanes < width) std::memset(panel, 0, sizeof(float) * static_cast<std::size_t>(width * source.steps));
  with_dtype(source.dtype, [&](auto type) {
    if (source.lane_stride == 1) return pack_runs<decltype(type)>(source, width, panel);
    pack_strided<decltype(type)>(source, width, panel);
  });
}

void round_values(float* values, DType dtype, std::int64_t count) {
  with_dtype(dtype, [&](auto type) {
    for (std::int64_t i = 0; i < count; ++i) values[i] = hd::widen(hd::narrow<decltype(type)>(values[i]));
  });
}

template <typename Function>
void with_activation(Activation kind, Function const& function) {
  switch (kind) {
    case Activation::silu: return function(std::integral_constant<Activation, Activation::silu>{});
    case Activation::gelu: return function(std::integral_constant<Activation, Activation::gelu>{});
    case Activation::gelu_tanh: return function(std::integral_constant<Activation, Activation::gelu_tanh>{});
    case Activation::gelu_quick: return function(std::integral_constant<Activation, Activation::gelu_quick>{});
    case Activation::relu2: return function(std::integral_constant<Activation, Activation::relu2>{});
    case Activation::swigluoai: return function(std::integral_constant<Activation, Activation::swigluoai>{});
    case Activation::swiglu_limit: return function(std::integral_constant<Activation, Activation::swiglu_limit>{});
  }
}

void activate(Activation kind, GatedRow const& row, float* out) {
  with_activation(kind, [&](auto constant) {
    constexpr Activation kKind = decltype(constant)::value;
    for (std::int64_t i = 0; i < row.units; ++i) out[i] = hd::activate<kKind>(row.gate[i], row.limit);
    if (row.up != nullptr) {
      round_values(out, row.gate_rounding, row.units);
      for (std::int64_t i = 0; i < row.units; ++i)
        out[i] = hd::mul_rn(out[i], hd::up_term<kKind>(row.up[i], row.limit));
    }
  });
  round_values(out, row.rounding, row.units);
}

/// Roundings count as the identity, but the factors are the rounded ones of the forward pass.
void activate_backward(Activation kind, GatedRowGradient const& gradient) {
  GatedRow const& row = gradient.row;
  with_activation(kind, [&](auto constant) {
    constexpr Activation kKind = decltype(constant)::value;
    float* const d_gate = gradient.d_gate;
    if (row.up != nullptr) {
      float* const d_up = gradient.d_up;
      for (std::int64_t i = 0; i < row.units; ++i) d_up[i] = hd::activate<kKind>(row.gate[i], row.limit);
      round_values(d_up, row.gate_rounding, row.units);
      for (std::int64_t i = 0; i < row.units; ++i) {
        float const d_product = hd::mul_rn(gradient.d_out[i], d_up[i]);
        d_up[i] = hd::mul_rn(d_product, hd::up_slope<kKind>(row.up[i], row.limit));
        d_gate[i] = hd::mul_rn(gradient.d_out[i], hd::up_term<kKind>(row.up[i], row.limit));
      }
    } else {
      std::copy_n(gradient.d_out, row.units, d_gate);
    }
    for (std::int64_t i = 0; i < row.units; ++i)
      d_gate[i] = hd::canonical(hd::mul_rn(d_gate[i], hd::activation_slope<kKind>(row.gate[i], row.limit)));
    if (row.up != nullptr) round_values(gradient.d_up, DType::f32, row.units);
  });
}

void add_and_round(float* values, float const* addend, DType dtype, std::int64_t count) {
  if (addend != nullptr)
    for (std::int64_t i = 0; i < count; ++i) values[i] = hd::add_rn(values[i], addend[i]);
  round_values(values, dtype, count);
}

void add_and_store(float const* values, float const* addend, DType dtype, void* out, std::int64_t count) {
  with_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    T* const to = static_cast<T*>(out);
    if (addend == nullptr) {
      for (std::int64_t i = 0; i < count; ++i) to[i] = hd::narrow<T>(values[i]);
    } else {
      for (std::int64_t i = 0; i < count; ++i) to[i] = hd::narrow<T>(hd::add_rn(values[i], addend[i]));
    }
  });
}

void load(void const* in, DType dtype, float const* weight, float* out, std::int64_t count) {
  with_dtype(dtype, [&](auto type) {
    using T = decltype(type);
    T const* const from = static_cast<T const*>(in);
    for (std::int64_t i = 0; i < count; ++i) out[i] = hd::widen(from[i]);
    if (weight == nullptr) return;
    for (std::int64_t i = 0; i < count; ++i) out[i] = hd::widen(hd::narrow<T>(hd::mul_rn(out[i], *weight)));
  });
}

}  // namespace

extern ExpertKernels const kExpertKernels;
ExpertKernels const kExpertKernels = {kTileRows,         kTileColumns,  chain_tile,    pack, activate,
                                      activate_backward, add_and_round, add_and_store, load};

}  // namespace switchyard::cpu::SWITCHYARD_TARGET
