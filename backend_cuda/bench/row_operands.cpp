// SPDX-License-Identifier: Apache-2.0
#include "row_operands.hpp"

#include <algorithm>
#include <numeric>
#include <random>

namespace gpu_bench {

namespace cuda = switchyard::cuda;

namespace {

constexpr std::int64_t kExperts = 256;

/// The tokens of every expert's rows, experts ascending.
std::vector<std::int32_t> draw_tokens(std::int64_t tokens) {
  std::mt19937_64 random(7);
  std::vector<std::vector<std::int32_t>> tokens_of(static_cast<std::size_t>(kExperts));
  for (std::int64_t token = 0; token < tokens; ++token) {
    std::vector<std::size_t> experts(static_cast<std::size_t>(kExperts));
    std::iota(experts.begin(), experts.end(), std::size_t{0});
    std::shuffle(experts.begin(), experts.end(), random);
    for (std::size_t k = 0; k < static_cast<std::size_t>(RowOperands::kTopK); ++k)
      tokens_of[experts[k]].push_back(static_cast<std::int32_t>(token));
  }
  std::vector<std::int32_t> all;
  for (auto const& list : tokens_of) all.insert(all.end(), list.begin(), list.end());
  return all;
}

/// Every token has as many rows as any other.
std::vector<std::int64_t> rows_by_token(std::vector<std::int32_t> const& token_of_row) {
  std::vector<std::int64_t> rows(token_of_row.size());
  std::iota(rows.begin(), rows.end(), std::int64_t{0});
  std::stable_sort(rows.begin(), rows.end(), [&](std::int64_t a, std::int64_t b) {
    return token_of_row[static_cast<std::size_t>(a)] < token_of_row[static_cast<std::size_t>(b)];
  });
  return rows;
}

}  // namespace

cuda::DeviceBuffer evenly(std::int64_t count, std::int64_t step) {
  std::vector<std::int64_t> begin(static_cast<std::size_t>(count) + 1);
  for (std::size_t i = 0; i < begin.size(); ++i) begin[i] = static_cast<std::int64_t>(i) * step;
  return cuda::upload(begin, cuda::Stream());
}

RowOperands::RowOperands(Results& results, KernelTimer& timer, std::int64_t rows)
    : input(rows * kRowBytes),
      output(rows * kRowBytes),
      token_of_row(draw_tokens(rows / kTopK)),
      rows_of_token(rows_by_token(token_of_row)),
      terms(cuda::upload(rows_of_token, timer.stream())),
      term_begin(evenly(rows / kTopK, kTopK)),
      weights(cuda::upload(std::vector<float>(static_cast<std::size_t>(rows), 0.125F), timer.stream())),
      results_(results),
      timer_(timer),
      rows_(rows) {
  cuda::fill_bytes(input, 0x3c, stream());
  auto const copy = timer.sample([&] { cuda::copy_device(input, output, stream()); });
  copy_gbs_ = 2 * bytes_of(rows) / median(copy) * 1e-3;
  measure("device copy", 2 * bytes_of(rows), [&] { cuda::copy_device(input, output, stream()); });
}

void RowOperands::measure(std::string const& name, double bytes, std::function<void()> const& kernel) const {
  std::vector<std::pair<std::string, double>> const fields{{"rows", static_cast<double>(rows_)},
                                                           {"hidden", static_cast<double>(kHidden)}};
  results_.add(name + " " + std::to_string(rows_) + " rows", fields, bytes, copy_gbs_, timer_.sample(kernel));
}

}  // namespace gpu_bench
