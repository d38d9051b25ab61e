// SPDX-License-Identifier: Apache-2.0
// bench_kernels(): the row kernels of one GPU at hidden 7168 in bf16, beside the bandwidth of a
// device copy measured in the same run. Bytes: each source row once plus the rows written. Before every sample a large
// buffer is overwritten, so that no sample reads what the second-level cache kept from the one before.
#include <cstdio>
#include <numeric>
#include <random>

#include "gpu_benches.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/cuda/sums.hpp"
#include "switchyard/types/error.hpp"

namespace gpu_bench {
namespace {

namespace cuda = switchyard::cuda;
using Indices = std::vector<std::int64_t>;

constexpr std::int64_t kHidden = 7168;
constexpr std::int64_t kRowBytes = kHidden * 2;
constexpr std::int64_t kTopK = 8;
constexpr std::int64_t kExperts = 256;

/// Rows of tokens with kTopK experts each, sorted by expert: the token of every row, and the rows of every token.
struct Routing {
  std::vector<std::int32_t> token_of_row;
  Indices rows_of_token;
};
Routing draw_routing(std::int64_t rows) {
  std::mt19937_64 random(7);
  std::vector<std::vector<std::int32_t>> tokens_of(static_cast<std::size_t>(kExperts));
  for (std::int64_t token = 0; token < rows / kTopK; ++token) {
    std::vector<std::size_t> experts(static_cast<std::size_t>(kExperts));
    std::iota(experts.begin(), experts.end(), std::size_t{0});
    std::shuffle(experts.begin(), experts.end(), random);
    for (std::size_t k = 0; k < static_cast<std::size_t>(kTopK); ++k)
      tokens_of[experts[k]].push_back(static_cast<std::int32_t>(token));
  }
  Routing routing;
  for (auto const& tokens : tokens_of)
    routing.token_of_row.insert(routing.token_of_row.end(), tokens.begin(), tokens.end());
  std::vector<Indices> rows_of(static_cast<std::size_t>(rows / kTopK));
  for (std::size_t row = 0; row < routing.token_of_row.size(); ++row)
    rows_of[static_cast<std::size_t>(routing.token_of_row[row])].push_back(static_cast<std::int64_t>(row));
  for (auto const& list : rows_of) routing.rows_of_token.insert(routing.rows_of_token.end(), list.begin(), list.end());
  return routing;
}

void bench_rows(Results& results, KernelTimer& timer, std::int64_t rows) {
  auto const stream = timer.stream();
  std::int64_t const tokens = rows / kTopK;
  Routing const routing = draw_routing(rows);
  cuda::DeviceBuffer const input(rows * kRowBytes);
  cuda::DeviceBuffer const output(rows * kRowBytes);
  cuda::fill_bytes(input, 0x3c, stream);
  auto const by_token = cuda::upload(routing.token_of_row, stream);
  auto const rows_of_token = cuda::upload(routing.rows_of_token, stream);
  std::vector<std::int32_t> const narrow(routing.rows_of_token.begin(), routing.rows_of_token.end());
  auto const permutation = cuda::upload(narrow, stream);
  Indices begin(static_cast<std::size_t>(tokens) + 1);
  for (std::size_t i = 0; i < begin.size(); ++i) begin[i] = static_cast<std::int64_t>(i) * kTopK;
  auto const term_begin = cuda::upload(begin, stream);
  auto const weights = cuda::upload(std::vector<float>(static_cast<std::size_t>(rows), 0.125F), stream);
  std::string const size = std::to_string(rows) + " rows";
  std::vector<std::pair<std::string, double>> const fields{{"rows", static_cast<double>(rows)},
                                                           {"hidden", static_cast<double>(kHidden)}};
  auto const both = 2.0 * static_cast<double>(rows * kRowBytes);
  auto const once = static_cast<double>((rows + tokens) * kRowBytes);

  auto const copy = timer.sample([&] { cuda::copy_device(input, output, stream); });
  double const floor = both / median(copy) * 1e-3;
  results.add("device copy " + size, fields, both, floor, copy);
  auto const gather = [&](std::string const& name, cuda::DeviceBuffer const& map, double bytes) {
    cuda::GatherRowsParams params{input.data(), output.data(), nullptr, rows, kRowBytes};
    params.map32 = map.as<std::int32_t const>();
    results.add(name + " " + size, fields, bytes, floor,
                timer.sample([&] { cuda::launch_gather_rows(params, stream); }));
  };
  gather("permute by row", by_token, once);
  cuda::ScatterRowsParams const scatter{
      input.data(), output.data(), term_begin.as<std::int64_t const>(), permutation.as<std::int32_t const>(),
      tokens,       kRowBytes};
  results.add("permute " + size, fields, once, floor,
              timer.sample([&] { cuda::launch_scatter_rows(scatter, stream); }));
  gather("unpermute", permutation, both);
  std::vector<std::int32_t> chunks;
  for (std::int32_t chunk = 0; chunk < 2 * 128; ++chunk) {
    std::int32_t const length = static_cast<std::int32_t>(rows) / 256;
    for (std::int32_t i = 0; i < length; ++i) chunks.push_back((chunk % 2 * 128 + chunk / 2) * length + i);
  }
  gather("chunk sort", cuda::upload(chunks, stream), both);
  cuda::SumRowsParams const sum{input.data(),
                                switchyard::DType::bf16,
                                output.data(),
                                switchyard::DType::bf16,
                                term_begin.as<std::int64_t const>(),
                                rows_of_token.as<std::int64_t const>(),
                                weights.data(),
                                tokens,
                                kHidden};
  results.add("combine " + size, fields, once, floor,
              timer.sample([&] { cuda::launch_sum_rows(cuda::SumStep::fp32_product, sum, stream); }));
}

}  // namespace

void bench_kernels(Results& results, KernelTimer& timer) {
  for (std::int64_t const rows : {4096, 32768}) bench_rows(results, timer, rows);
}

}  // namespace gpu_bench
