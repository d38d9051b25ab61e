// SPDX-License-Identifier: Apache-2.0
// What the exact recipe costs beside the rounding ones: time per product of a token's combine (8 rows of 7168 columns,
// weights like a softmax over 8 experts, rows like activations), and bytes of an accumulator on the wire.
#include <benchmark/benchmark.h>

#include <random>
#include <vector>

#include "switchyard/hd/recipes.hpp"
#include "switchyard/hd/recipes_exact.hpp"

namespace {

using switchyard::bf16_t;
using switchyard::f16_t;
namespace hd = switchyard::hd;

constexpr std::int64_t kSlots = 8;
constexpr std::int64_t kHidden = 7168;

template <typename Weight, typename T>
struct Token {
  std::vector<T> rows = std::vector<T>(kSlots * kHidden);
  std::vector<Weight> weights = std::vector<Weight>(kSlots);
  std::vector<std::int64_t> order = {3, 0, 7, 4, 1, 6, 2, 5};
  std::vector<T> output = std::vector<T>(kHidden);

  Token() {
    std::mt19937_64 random(1);
    std::normal_distribution<float> normal;
    for (T& value : rows) value = hd::narrow<T>(normal(random));
    std::uniform_real_distribution<double> uniform(0.02, 0.25);
    for (Weight& weight : weights) weight = static_cast<Weight>(uniform(random));
  }
};

void report(benchmark::State& state) {
  state.counters["per_product"] =
      benchmark::Counter(static_cast<double>(kSlots * kHidden),
                         benchmark::Counter::kIsIterationInvariantRate | benchmark::Counter::kInvert);
}

template <typename T>
void source_slot_order(benchmark::State& state) {
  Token<float, T> token;
  for (auto _ : state) {
    hd::combine_row(token.rows.data(), kHidden, kHidden, token.order.data(), token.weights.data(), kSlots,
                    token.output.data());
    benchmark::ClobberMemory();
  }
  report(state);
}

template <typename T>
void megablocks(benchmark::State& state) {
  Token<float, T> token;
  for (auto _ : state) {
    hd::combine_row<T, T, hd::RowProduct>(token.rows.data(), kHidden, kHidden, token.order.data(), token.weights.data(),
                                          kSlots, token.output.data());
    benchmark::ClobberMemory();
  }
  report(state);
}

template <typename Weight, typename T>
void exact(benchmark::State& state) {
  Token<Weight, T> token;
  for (auto _ : state) {
    hd::exact_row(token.rows.data(), kHidden, kHidden, token.order.data(), token.weights.data(), kSlots,
                  token.output.data());
    benchmark::ClobberMemory();
  }
  report(state);
}

/// Every element through the wide accumulator: what a column costs when fp64 cannot vouch for it.
template <typename Weight, typename T>
void exact_wide(benchmark::State& state) {
  Token<Weight, T> token;
  T const* const no_shared = nullptr;
  for (auto _ : state) {
    for (std::int64_t c = 0; c < kHidden; ++c)
      token.output[static_cast<std::size_t>(c)] = hd::exact_element_wide<T>(
          token.rows.data(), kHidden, c, token.order.data(), token.weights.data(), kSlots, no_shared);
    benchmark::ClobberMemory();
  }
  report(state);
}

/// One long sum: the addition without the cost of clearing and rounding.
template <typename Weight, typename T>
void exact_addition(benchmark::State& state) {
  Token<Weight, T> token;
  for (auto _ : state) {
    hd::ExactSum<Weight, T> sum;
    for (std::size_t i = 0; i < token.rows.size(); ++i)
      sum.add_product(token.weights[i % token.weights.size()], token.rows[i]);
    benchmark::DoNotOptimize(sum.state());
  }
  report(state);
  state.counters["wire_bytes"] = static_cast<double>(sizeof(hd::ExactSumState<Weight, T>));
}

/// Both ends of the wire: 4 ranks make states of 2 rows each, the source joins them. Per product as well.
template <typename Weight, typename T>
void exact_over_the_wire(benchmark::State& state) {
  Token<Weight, T> token;
  constexpr std::int64_t kRanks = 4;
  std::vector<hd::ExactSumState<Weight, T>> states(kRanks * kHidden);
  std::int64_t const ranks[kRanks] = {0, 1, 2, 3};
  for (auto _ : state) {
    for (std::int64_t rank = 0; rank < kRanks; ++rank)
      for (std::int64_t c = 0; c < kHidden; ++c)
        states[static_cast<std::size_t>(rank * kHidden + c)] = hd::exact_partial_element(
            token.rows.data(), kHidden, c, token.order.data() + 2 * rank, token.weights.data() + 2 * rank, 2);
    for (std::int64_t c = 0; c < kHidden; ++c)
      token.output[static_cast<std::size_t>(c)] = hd::exact_join_element<T>(states.data(), kHidden, c, ranks, kRanks);
    benchmark::ClobberMemory();
  }
  report(state);
  state.counters["wire_bytes"] = static_cast<double>(sizeof(hd::ExactSumState<Weight, T>));
}

BENCHMARK_TEMPLATE(source_slot_order, bf16_t);
BENCHMARK_TEMPLATE(source_slot_order, f16_t);
BENCHMARK_TEMPLATE(source_slot_order, float);
BENCHMARK_TEMPLATE(megablocks, bf16_t);
BENCHMARK_TEMPLATE(exact, float, bf16_t);
BENCHMARK_TEMPLATE(exact, float, f16_t);
BENCHMARK_TEMPLATE(exact, float, float);
BENCHMARK_TEMPLATE(exact, double, bf16_t);
BENCHMARK_TEMPLATE(exact_wide, float, bf16_t);
BENCHMARK_TEMPLATE(exact_wide, float, float);
BENCHMARK_TEMPLATE(exact_wide, double, float);
BENCHMARK_TEMPLATE(exact_addition, float, bf16_t);
BENCHMARK_TEMPLATE(exact_addition, float, f16_t);
BENCHMARK_TEMPLATE(exact_addition, float, float);
BENCHMARK_TEMPLATE(exact_addition, double, float);
BENCHMARK_TEMPLATE(exact_over_the_wire, float, bf16_t);
BENCHMARK_TEMPLATE(exact_over_the_wire, float, f16_t);
BENCHMARK_TEMPLATE(exact_over_the_wire, float, float);

}  // namespace
