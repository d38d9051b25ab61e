// SPDX-License-Identifier: Apache-2.0
// Between the products of the fast expert engine: activations, their gradients, and weighted rows, sixteen bytes at a
// time and without a detour over floats in memory. The arithmetic is the exact engine's.
#include "activation_switch.cuh"
#include "chain_finish.cuh"
#include "cuda_error.hpp"
#include "dtype_switch.cuh"
#include "fast_kernels.hpp"
#include "row_runs.cuh"

namespace switchyard::cuda {

namespace {

constexpr int kWidePack = 8;

/// Gates and ups of kPack neighbouring units; without gates both are the only input.
template <typename T, int kPack>
struct UnitInputs {
  using Pack = ElementPack<T, kPack>;
  Pack gate;
  Pack up;

  __device__ static std::int64_t width(GateLayout layout, std::int64_t units) {
    return layout == GateLayout::plain ? units : 2 * units;
  }
  /// @param first where the row begins
  __device__ static UnitInputs load(void const* rows, GateLayout layout, std::int64_t first, std::int64_t units,
                                    std::int64_t unit) {
    UnitInputs in;
    if (layout != GateLayout::interleaved) {
      in.gate = Pack::at(rows, first + unit);
      in.up = layout == GateLayout::split ? Pack::at(rows, first + units + unit) : in.gate;
      return in;
    }
    Pack const low = Pack::at(rows, first + 2 * unit);
    Pack const high = Pack::at(rows, first + 2 * unit + kPack);
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      in.gate.element[i] = either(low, high, 2 * i);
      in.up.element[i] = either(low, high, 2 * i + 1);
    }
    return in;
  }
  __device__ void store(void* rows, GateLayout layout, std::int64_t first, std::int64_t units,
                        std::int64_t unit) const {
    if (layout != GateLayout::interleaved) {
      gate.put(rows, first + unit);
      if (layout == GateLayout::split) up.put(rows, first + units + unit);
      return;
    }
    Pack half[2];
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      half[2 * i / kPack].element[2 * i % kPack] = gate.element[i];
      half[(2 * i + 1) / kPack].element[(2 * i + 1) % kPack] = up.element[i];
    }
    half[0].put(rows, first + 2 * unit);
    half[1].put(rows, first + 2 * unit + kPack);
  }

 private:
  __device__ static T either(Pack const& low, Pack const& high, int i) {
    return i < kPack ? low.element[i % kPack] : high.element[i % kPack];
  }
};

/// An activation from its inputs, before its rounding, and the rounded gate that it is made of.
struct Activated {
  float gate;
  float value;
};

template <Activation kKind>
__device__ inline Activated activated(FastActivationJob const& job, float gate, float up) {
  float const value = hd::activate<kKind>(gate, job.spec.limit);
  if (job.spec.layout == GateLayout::plain) return {value, value};
  float const kept = rounded(value, job.gate_rounding);
  return {kept, hd::mul_rn(kept, hd::up_term<kKind>(up, job.spec.limit))};
}

template <typename T, Activation kKind, int kPack>
__global__ void fast_activation_kernel(__grid_constant__ RowRuns const runs,
                                       __grid_constant__ FastActivationJob const job) {
  using Inputs = UnitInputs<T, kPack>;
  std::int64_t const width = Inputs::width(job.spec.layout, job.units);
  for_row_packs<kPack>(runs, job.units, [&](std::int64_t row, std::int64_t unit) {
    auto const in = Inputs::load(job.hidden, job.spec.layout, row * width, job.units, unit);
    ElementPack<T, kPack> out;
#pragma unroll
    for (int i = 0; i < kPack; ++i)
      out.element[i] =
          hd::narrow<T>(activated<kKind>(job, hd::widen(in.gate.element[i]), hd::widen(in.up.element[i])).value);
    out.put(job.activation, row * job.units + unit);
  });
}

/// Gradients of one unit's gate and up; without gates the up has none.
struct UnitGradient {
  float gate;
  float up;
};

template <Activation kKind>
__device__ inline UnitGradient gradient_of(FastActivationJob const& job, float gate, float up, float activated_gate,
                                           float d_output) {
  float const slope = hd::activation_slope<kKind>(gate, job.spec.limit);
  if (job.spec.layout == GateLayout::plain) return {hd::mul_rn(d_output, slope), 0.0f};
  float const d_up = hd::mul_rn(hd::mul_rn(d_output, activated_gate), hd::up_slope<kKind>(up, job.spec.limit));
  return {hd::mul_rn(hd::mul_rn(d_output, hd::up_term<kKind>(up, job.spec.limit)), slope), d_up};
}

template <typename T, Activation kKind, int kPack>
__global__ void fast_gradient_kernel(__grid_constant__ RowRuns const runs,
                                     __grid_constant__ FastGradientJob const job) {
  using Inputs = UnitInputs<T, kPack>;
  FastActivationJob const& forward = job.forward;
  GateLayout const layout = forward.spec.layout;
  std::int64_t const width = Inputs::width(layout, forward.units);
  for_row_packs<kPack>(runs, forward.units, [&](std::int64_t row, std::int64_t unit) {
    auto const in = Inputs::load(forward.hidden, layout, row * width, forward.units, unit);
    auto const d = ElementPack<float, kPack>::at(job.d_activation, row * forward.units + unit);
    ElementPack<T, kPack> activation;
    Inputs out;
#pragma unroll
    for (int i = 0; i < kPack; ++i) {
      float const gate = hd::widen(in.gate.element[i]);
      float const up = hd::widen(in.up.element[i]);
      Activated const a = activated<kKind>(forward, gate, up);
      UnitGradient const g = gradient_of<kKind>(forward, gate, up, a.gate, d.element[i]);
      activation.element[i] = hd::narrow<T>(a.value);
      out.gate.element[i] = hd::narrow<T>(g.gate);
      out.up.element[i] = hd::narrow<T>(g.up);
    }
    activation.put(forward.activation, row * forward.units + unit);
    out.store(job.d_hidden, layout, row * width, forward.units, unit);
  });
}

template <typename T, int kPack>
__global__ void fast_weigh_kernel(__grid_constant__ RowRuns const runs, __grid_constant__ FastWeighJob const job) {
  for_row_packs<kPack>(runs, job.columns, [&](std::int64_t row, std::int64_t column) {
    auto pack = ElementPack<T, kPack>::at(job.rows, row * job.columns + column);
    float const weight = job.weights[row];
#pragma unroll
    for (int i = 0; i < kPack; ++i) pack.element[i] = hd::narrow<T>(hd::mul_rn(hd::widen(pack.element[i]), weight));
    pack.put(job.out, row * job.columns + column);
  });
}

/// Whether rows of `columns` elements can be moved in wide packs.
template <typename... Pointers>
bool wide(std::int64_t columns, Pointers const*... pointers) {
  return columns % kWidePack == 0 && ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

unsigned threads_for(std::int64_t columns, bool is_wide) {
  std::int64_t const packs = is_wide ? columns / kWidePack : columns;
  return static_cast<unsigned>(std::min<std::int64_t>((packs + 31) / 32 * 32, kBlockThreads));
}

/// Calls body with constants for the dtype, the activation and the width of packs.
template <typename Body>
void by_kernel(FastActivationJob const& job, bool is_wide, Body const& body) {
  by_row_dtype(job.dtype, [&](auto row) {
    by_activation(job.spec.kind, [&](auto kind) {
      if (is_wide) {
        body(row, kind, std::integral_constant<int, kWidePack>{});
      } else {
        body(row, kind, std::integral_constant<int, 1>{});
      }
    });
  });
}

}  // namespace

void launch_fast_activation(std::span<RowBlock const> blocks, FastActivationJob const& job, StreamView stream) {
  if (job.units == 0) return;
  bool const is_wide = wide(job.units, job.hidden, job.activation);
  unsigned const threads = threads_for(job.units, is_wide);
  for_runs(blocks, [&](dim3 const& grid, RowRuns const& runs) {
    by_kernel(job, is_wide, [&](auto row, auto kind, auto pack) {
      fast_activation_kernel<decltype(row), kind.value, pack.value><<<grid, threads, 0, stream.handle()>>>(runs, job);
    });
    check_launch("fast_activation_kernel");
  });
}

void launch_fast_gradient(std::span<RowBlock const> blocks, FastGradientJob const& job, StreamView stream) {
  FastActivationJob const& forward = job.forward;
  if (forward.units == 0) return;
  bool const is_wide = wide(forward.units, forward.hidden, forward.activation, job.d_activation, job.d_hidden);
  unsigned const threads = threads_for(forward.units, is_wide);
  for_runs(blocks, [&](dim3 const& grid, RowRuns const& runs) {
    by_kernel(forward, is_wide, [&](auto row, auto kind, auto pack) {
      fast_gradient_kernel<decltype(row), kind.value, pack.value><<<grid, threads, 0, stream.handle()>>>(runs, job);
    });
    check_launch("fast_gradient_kernel");
  });
}

void launch_fast_weigh(std::span<RowBlock const> blocks, FastWeighJob const& job, StreamView stream) {
  if (job.columns == 0) return;
  bool const is_wide = wide(job.columns, job.rows, job.out);
  unsigned const threads = threads_for(job.columns, is_wide);
  for_runs(blocks, [&](dim3 const& grid, RowRuns const& runs) {
    by_row_dtype(job.dtype, [&](auto row) {
      if (is_wide) {
        fast_weigh_kernel<decltype(row), kWidePack><<<grid, threads, 0, stream.handle()>>>(runs, job);
      } else {
        fast_weigh_kernel<decltype(row), 1><<<grid, threads, 0, stream.handle()>>>(runs, job);
      }
    });
    check_launch("fast_weigh_kernel");
  });
}

}  // namespace switchyard::cuda
