// SPDX-License-Identifier: Apache-2.0
// The quantisers next to memcpy: rows of 7168 bf16 or f32 values that do not fit a cache, on one worker and on all.
// "of_memcpy" is the median over iterations of the processor time of a memcpy that reads and writes as many bytes (half
// of them each), on as many workers, over that of the quantiser. Bytes are what has to be read and written: values
// once, codes and scales; the dynamic scale per tensor needs the values twice, because the first code depends on the
// last value.
#include <benchmark/benchmark.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "paired_ratio.hpp"
#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/cpu/quantize.hpp"
#include "switchyard/hd/convert.hpp"

namespace {

namespace hd = switchyard::hd;
using switchyard::QuantScheme;

constexpr std::int64_t kRows = 8192;
constexpr std::int64_t kColumns = 7168;

template <typename T>
std::vector<T> random_values() {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, 0.05f);
  std::vector<T> values(static_cast<std::size_t>(kRows * kColumns));
  std::size_t const drawn = 1 << 20;  // then they repeat
  for (std::size_t i = 0; i < drawn; ++i) values[i] = hd::narrow<T>(normal(random));
  for (std::size_t i = drawn; i < values.size(); ++i) values[i] = values[i - drawn];
  return values;
}

/// memcpy by rows, as the quantisers go.
void copy_rows(std::vector<std::byte> const& from, std::vector<std::byte>& to) {
  std::size_t const row = from.size() / static_cast<std::size_t>(kRows);
  switchyard::cpu::parallel_for(kRows, 4, [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(to.data() + static_cast<std::size_t>(begin) * row, from.data() + static_cast<std::size_t>(begin) * row,
                static_cast<std::size_t>(end - begin) * row);
  });
  benchmark::ClobberMemory();
}

template <typename T>
void quantize_rows(benchmark::State& state) {
  switchyard::QuantSpec spec;
  spec.scheme = static_cast<QuantScheme>(state.range(0));
  spec.given_scale = 0.001f;  // no value saturates
  spec.tensor_scale = 100.0f;
  switchyard::cpu::set_worker_count(static_cast<int>(state.range(1)));
  auto const from = random_values<T>();
  auto const values = switchyard::ConstTensorView::matrix(std::span(from), kRows, kColumns);
  auto out = switchyard::QuantizedMatrix::make(spec, kRows, kColumns);
  std::size_t const passes = spec.scheme == QuantScheme::fp8_tensor_dynamic ? 2 : 1;
  std::size_t const bytes = passes * from.size() * sizeof(T) + out.codes.size() + out.scales.size();
  std::vector<std::byte> const copied(bytes / 2, std::byte{1});
  std::vector<std::byte> copy(bytes / 2);
  bench::PairedRatio pairs;
  for (auto _ : state)
    pairs.run(
        state, [&] { copy_rows(copied, copy); }, [&] { switchyard::cpu::quantize(spec, values, out); });
  pairs.report(state, "of_memcpy", 1.0);
  state.counters["memcpy_bytes_per_core_s"] = static_cast<double>(bytes) / pairs.yardstick_seconds();
  state.SetLabel(std::string(to_string(spec.scheme)));
  switchyard::cpu::set_worker_count(0);
}

void all_schemes(benchmark::internal::Benchmark* benchmark) {
  int const schemes = static_cast<int>(switchyard::kAllQuantSchemes.size());
  benchmark->ArgsProduct({benchmark::CreateDenseRange(0, schemes - 1, 1), {1, 0}})->UseManualTime();
}
BENCHMARK(quantize_rows<switchyard::bf16_t>)->Apply(all_schemes);
BENCHMARK(quantize_rows<float>)->Apply(all_schemes);

}  // namespace
