// SPDX-License-Identifier: Apache-2.0
// bench_conversions(): between floats and narrow types, and codes back to floats. bench_moves(): rows into and out of
// slots of fixed size, and the checksum of rows. Copies of rows between slots of experts are plain device copies.
#include "rebalance_checksum.hpp"
#include "row_operands.hpp"
#include "switchyard/cuda/convert.hpp"
#include "switchyard/cuda/quantize.hpp"
#include "switchyard/cuda/rows.hpp"

namespace gpu_bench {
namespace {

namespace cuda = switchyard::cuda;
using switchyard::bf16_t;
using switchyard::fp8_e4m3_t;

template <typename T>
void bench_type(RowOperands const& on, cuda::DeviceBuffer const& floats, std::string const& name) {
  std::int64_t const count = on.rows() * RowOperands::kHidden;
  auto const bytes = static_cast<double>(count) * (sizeof(float) + sizeof(T));
  on.measure("widen " + name, bytes, [&] {
    cuda::launch_widen<T>({on.input.as<T const>(), floats.as<float>(), count}, on.stream());
  });
  cuda::fill_bytes(floats, 0x3c, on.stream());
  on.measure("narrow " + name, bytes, [&] {
    cuda::launch_narrow<T>({floats.as<float const>(), on.output.as<T>(), count}, on.stream());
  });
}

void bench_gather(RowOperands const& on, std::string const& name, cuda::DeviceBuffer const& output,
                  std::vector<std::int32_t> const& map, double bytes) {
  auto const placed = cuda::upload(map, on.stream());
  cuda::GatherRowsParams params{on.input.data(), output.data(), nullptr, static_cast<std::int64_t>(map.size()),
                                RowOperands::kRowBytes};
  params.map32 = placed.as<std::int32_t const>();
  on.measure(name, bytes, [&] { cuda::launch_gather_rows(params, on.stream()); });
}

}  // namespace

void bench_conversions(RowOperands const& on) {
  std::int64_t const count = on.rows() * RowOperands::kHidden;
  cuda::DeviceBuffer const floats(count * 4);
  bench_type<bf16_t>(on, floats, "bf16");
  bench_type<fp8_e4m3_t>(on, floats, "e4m3");
  for (auto const scheme : switchyard::kAllQuantSchemes) {
    switchyard::QuantSpec spec;
    spec.scheme = scheme;
    auto const matrix = cuda::DeviceQuantizedMatrix::make(spec, on.rows(), RowOperands::kHidden);
    cuda::fill_bytes(matrix.codes, 0x3c, on.stream());
    cuda::fill_bytes(matrix.scales, 0x3c, on.stream());
    auto const bytes = static_cast<double>(matrix.codes.size_bytes() + matrix.scales.size_bytes() + count * 4);
    on.measure("dequantize " + std::string(to_string(scheme)), bytes,
               [&] { cuda::launch_dequantize(matrix.view(), floats.as<float>(), on.stream()); });
  }
}

/// Two ranks. Nearly every token has an expert on either, so a slot holds all tokens of a rank.
void bench_moves(RowOperands const& on) {
  constexpr std::int64_t kRanks = 2;
  std::vector<std::int32_t> packed;
  for (std::int64_t row = 0; row < kRanks * on.tokens(); ++row)
    packed.push_back(static_cast<std::int32_t>(row % on.tokens()));
  bench_gather(on, "pack slots", on.output, packed, RowOperands::bytes_of((1 + kRanks) * on.tokens()));
  std::vector<std::int32_t> landed;
  for (std::size_t row = 0; row < on.token_of_row.size(); ++row)
    landed.push_back(on.token_of_row[row] +
                     static_cast<std::int32_t>(row % 2) * static_cast<std::int32_t>(on.tokens()));
  bench_gather(on, "unpack slots", on.output, landed, RowOperands::bytes_of(kRanks * on.tokens() + on.rows()));
  cuda::DeviceBuffer const sum(sizeof(std::uint64_t));
  on.measure("checksum", RowOperands::bytes_of(on.rows()), [&] {
    cuda::launch_byte_checksum(on.input.data(), on.input.size_bytes(), sum.as<std::uint64_t>(), on.stream());
  });
}

}  // namespace gpu_bench
