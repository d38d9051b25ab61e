// SPDX-License-Identifier: Apache-2.0
// bench_sums(): the sums of every recipe and their gradients. A token has eight terms at its source; at the experts of
// two ranks a (rank, token) row has four, and a token two partials.
#include "row_operands.hpp"
#include "switchyard/cuda/sums.hpp"

namespace gpu_bench {
namespace {

namespace cuda = switchyard::cuda;
using cuda::SumStep;
using switchyard::DType;

constexpr std::int64_t kRanks = 2;
constexpr std::int64_t kHidden = RowOperands::kHidden;

double list_bytes(std::int64_t entries) {
  return 8.0 * static_cast<double>(entries);
}

/// Sums of `count` tokens or partials, each of `of` rows of `rows`.
cuda::SumRowsParams sums_of(RowOperands const& on, void const* rows, cuda::DeviceBuffer const& begin,
                            cuda::DeviceBuffer const& output, std::int64_t count) {
  return {rows,
          DType::bf16,
          output.data(),
          DType::bf16,
          begin.as<std::int64_t const>(),
          on.terms.as<std::int64_t const>(),
          on.weights.data(),
          count,
          kHidden};
}

void bench_rounded_sums(RowOperands const& on) {
  std::int64_t const tokens = on.tokens();
  std::int64_t const partials = tokens * kRanks;
  auto const at_source = sums_of(on, on.input.data(), on.term_begin, on.output, tokens);
  on.measure("combine", RowOperands::bytes_of(on.rows() + tokens),
             [&] { cuda::launch_sum_rows(SumStep::fp32_product, at_source, on.stream()); });
  auto const partial_begin = evenly(partials, RowOperands::kTopK / kRanks);
  auto const at_experts = sums_of(on, on.input.data(), partial_begin, on.output, partials);
  on.measure("sum partials", RowOperands::bytes_of(on.rows() + partials),
             [&] { cuda::launch_sum_rows(SumStep::fp32_product, at_experts, on.stream()); });
  auto const join_begin = evenly(tokens, kRanks);
  auto const join_rows = evenly(partials, 1);
  auto join = sums_of(on, on.input.data(), join_begin, on.output, tokens);
  join.term_rows = join_rows.as<std::int64_t const>();
  on.measure("join partials", RowOperands::bytes_of(partials + tokens),
             [&] { cuda::launch_sum_rows(SumStep::join_f32, join, on.stream()); });
}

void bench_exact_sums(RowOperands const& on) {
  std::int64_t const tokens = on.tokens();
  auto const rows = sums_of(on, on.input.data(), on.term_begin, on.output, tokens);
  on.measure("combine exact", RowOperands::bytes_of(on.rows() + tokens), [&] {
    cuda::launch_exact_rows({rows, false, nullptr}, on.stream());
  });
  std::int64_t const state_bytes = kHidden * cuda::exact_state_bytes(DType::bf16, false);
  cuda::DeviceBuffer const states(tokens * kRanks * state_bytes);
  cuda::fill_bytes(states, 0, on.stream());
  auto const partial_begin = evenly(tokens * kRanks, RowOperands::kTopK / kRanks);
  auto const partials = sums_of(on, on.input.data(), partial_begin, states, tokens * kRanks);
  on.measure("exact partials", RowOperands::bytes_of(on.rows()) + static_cast<double>(states.size_bytes()), [&] {
    cuda::launch_exact_partials({partials, false, nullptr}, on.stream());
  });
  auto const join_begin = evenly(tokens, kRanks);
  auto const join_rows = evenly(tokens * kRanks, 1);
  auto join = sums_of(on, states.data(), join_begin, on.output, tokens);
  join.term_rows = join_rows.as<std::int64_t const>();
  on.measure("exact join", static_cast<double>(states.size_bytes()) + RowOperands::bytes_of(tokens), [&] {
    cuda::launch_exact_join({join, false, nullptr}, on.stream());
  });
}

void bench_beside_sums(RowOperands const& on) {
  constexpr std::int64_t kTp = 2;
  std::int64_t const elements = on.rows() * kHidden;
  cuda::DeviceBuffer const parts(kTp * elements * 4);
  cuda::fill_bytes(parts, 0, on.stream());
  cuda::TreeSumParams const tree{parts.as<float>(), elements, kTp, on.output.data(), DType::bf16};
  on.measure("tree sum", static_cast<double>(parts.size_bytes()) + RowOperands::bytes_of(on.rows()),
             [&] { cuda::launch_tree_sum(tree, on.stream()); });
  on.measure("add shared expert", 3 * RowOperands::bytes_of(on.tokens()), [&] {
    cuda::launch_add_shared(on.output.data(), on.input.data(), on.tokens() * kHidden, DType::bf16, on.stream());
  });
  cuda::DeviceBuffer const gathered(on.rows() * 4);
  cuda::GatherWeightsParams weights{};
  weights.weights = on.weights.data();
  weights.output = gathered.data();
  weights.index = on.terms.as<std::int64_t const>();
  weights.count = on.rows();
  on.measure("gather weights", list_bytes(on.rows()) * 2, [&] { cuda::launch_gather_weights(weights, on.stream()); });
}

void bench_gradients(RowOperands const& on) {
  std::vector<std::int64_t> token_of_entry;
  for (std::int64_t entry = 0; entry < on.rows(); ++entry) token_of_entry.push_back(entry / RowOperands::kTopK);
  auto const tokens = cuda::upload(token_of_entry, on.stream());
  auto const index = evenly(on.rows(), 1);
  cuda::DeviceBuffer const gradients(on.tokens() * RowOperands::kRowBytes);
  cuda::fill_bytes(gradients, 0x3c, on.stream());
  cuda::DeviceBuffer const of_weights(on.rows() * 4);
  cuda::SourceRowsParams const source{on.terms.as<std::int64_t const>(),
                                      tokens.as<std::int64_t const>(),
                                      index.as<std::int64_t const>(),
                                      on.rows(),
                                      kHidden,
                                      DType::bf16};
  double const once = RowOperands::bytes_of(on.rows() + on.tokens());
  on.measure("row gradients", once, [&] {
    cuda::launch_weigh_rows(source, gradients.data(), on.weights.as<float const>(), on.output.data(), on.stream());
  });
  on.measure("weight gradients", once, [&] {
    cuda::launch_dot_rows(source, gradients.data(), on.input.data(), of_weights.as<float>(), on.stream());
  });
}

}  // namespace

void bench_sums(RowOperands const& on) {
  bench_rounded_sums(on);
  bench_exact_sums(on);
  bench_beside_sums(on);
  bench_gradients(on);
}

}  // namespace gpu_bench
