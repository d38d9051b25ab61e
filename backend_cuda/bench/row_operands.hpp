// SPDX-License-Identifier: Apache-2.0
/// RowOperands: rows of tokens with eight experts each at hidden 7168 in bf16, on the device, and the bandwidth of a
/// copy of them, beside which row kernels are measured.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bench_json.hpp"
#include "kernel_timer.hpp"
#include "switchyard/cuda/device_buffer.hpp"

namespace gpu_bench {

class RowOperands {
 public:
  static constexpr std::int64_t kHidden = 7168;
  static constexpr std::int64_t kRowBytes = kHidden * 2;
  static constexpr std::int64_t kTopK = 8;

  /// Draws the routing and measures the copy, which is the first case. @param rows a multiple of 256
  RowOperands(Results& results, KernelTimer& timer, std::int64_t rows);

  /// Measures a kernel. @param bytes that it must move: each source once, and what it writes
  void measure(std::string const& name, double bytes, std::function<void()> const& kernel) const;

  [[nodiscard]] switchyard::cuda::StreamView stream() const { return timer_.stream(); }
  [[nodiscard]] std::int64_t rows() const { return rows_; }
  [[nodiscard]] std::int64_t tokens() const { return rows_ / kTopK; }
  /// Bytes of so many rows.
  [[nodiscard]] static double bytes_of(std::int64_t rows) { return static_cast<double>(rows * kRowBytes); }

  switchyard::cuda::DeviceBuffer input;       ///< [rows, kHidden]
  switchyard::cuda::DeviceBuffer output;      ///< [rows, kHidden]
  std::vector<std::int32_t> token_of_row;     ///< rows sorted by expert
  std::vector<std::int64_t> rows_of_token;    ///< [rows] the rows of every token, slot by slot
  switchyard::cuda::DeviceBuffer terms;       ///< rows_of_token
  switchyard::cuda::DeviceBuffer term_begin;  ///< [tokens + 1]
  switchyard::cuda::DeviceBuffer weights;     ///< [rows] f32

 private:
  Results& results_;
  KernelTimer& timer_;
  std::int64_t rows_;
  double copy_gbs_ = 0;
};

/// 0, step, 2 * step, ... of `count` + 1 numbers, on the device.
[[nodiscard]] switchyard::cuda::DeviceBuffer evenly(std::int64_t count, std::int64_t step);

/// Sums, gradients, conversions, checksums and slots.
void bench_sums(RowOperands const& on);
void bench_conversions(RowOperands const& on);
void bench_moves(RowOperands const& on);

}  // namespace gpu_bench
