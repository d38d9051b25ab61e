// SPDX-License-Identifier: Apache-2.0
// bench_kernels(): the row kernels of one GPU at hidden 7168 in bf16, beside the bandwidth of a
// device copy measured in the same run. Bytes: each source row once plus the rows written. Before every sample a large
// buffer is overwritten, so that no sample reads what the second-level cache kept from the one before.
#include "gpu_benches.hpp"
#include "row_operands.hpp"
#include "switchyard/cuda/rows.hpp"

namespace gpu_bench {
namespace {

namespace cuda = switchyard::cuda;

void bench_gather(RowOperands const& on, std::string const& name, std::vector<std::int32_t> const& map, double bytes) {
  auto const placed = cuda::upload(map, on.stream());
  cuda::GatherRowsParams params{on.input.data(), on.output.data(), nullptr, on.rows(), RowOperands::kRowBytes};
  params.map32 = placed.as<std::int32_t const>();
  on.measure(name, bytes, [&] { cuda::launch_gather_rows(params, on.stream()); });
}

/// Rows by (source, local expert) to (local expert, source): two sources, 128 experts.
std::vector<std::int32_t> chunk_map(std::int64_t rows) {
  std::vector<std::int32_t> map;
  auto const length = static_cast<std::int32_t>(rows) / 256;
  for (std::int32_t chunk = 0; chunk < 2 * 128; ++chunk)
    for (std::int32_t i = 0; i < length; ++i) map.push_back((chunk % 2 * 128 + chunk / 2) * length + i);
  return map;
}

void bench_permutes(RowOperands const& on) {
  double const once = RowOperands::bytes_of(on.rows() + on.tokens());
  double const both = 2 * RowOperands::bytes_of(on.rows());
  std::vector<std::int32_t> const permutation(on.rows_of_token.begin(), on.rows_of_token.end());
  auto const places = cuda::upload(permutation, on.stream());
  bench_gather(on, "permute by row", on.token_of_row, once);
  cuda::ScatterRowsParams const scatter{
      on.input.data(), on.output.data(),      on.term_begin.as<std::int64_t const>(), places.as<std::int32_t const>(),
      on.tokens(),     RowOperands::kRowBytes};
  on.measure("permute", once, [&] { cuda::launch_scatter_rows(scatter, on.stream()); });
  bench_gather(on, "unpermute", permutation, both);
  bench_gather(on, "chunk sort", chunk_map(on.rows()), both);
}

}  // namespace

void bench_kernels(Results& results, KernelTimer& timer) {
  for (std::int64_t const rows : {4096, 32768}) {
    RowOperands const on(results, timer, rows);
    bench_permutes(on);
    bench_sums(on);
    bench_conversions(on);
    bench_moves(on);
  }
}

}  // namespace gpu_bench
