// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/weight_and_reduce.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "switchyard/hd/combine_step.hpp"
#include "switchyard/hd/float_env.hpp"
#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard {
namespace {

void require_rows(ConstTensorView const& view, std::string_view name, std::int64_t rows, ConstTensorView const& like) {
  std::int64_t const hidden = like.extent(like.shape().rank() - 1);
  std::int64_t const columns = view.shape().rank() == 0 ? 0 : view.extent(view.shape().rank() - 1);
  SWITCHYARD_REQUIRE(columns == hidden && view.shape().num_elements() == rows * hidden && view.shape().contiguous(),
                     shape_mismatch, "{} holds {} elements in rows of {}, wanted {} rows of {}", name,
                     view.shape().num_elements(), columns, rows, hidden);
  SWITCHYARD_REQUIRE(view.dtype() == like.dtype(), shape_mismatch, "{} is {}, the output {}", name,
                     to_string(view.dtype()), to_string(like.dtype()));
}

/// The slots of one token in the order of their sum.
void order_slots(WeightAndReduce kind, std::span<std::int64_t const> rows, std::span<std::int64_t> slots) {
  std::iota(slots.begin(), slots.end(), std::int64_t{0});
  // Rows lie by (local expert, token, slot), so their indices are that order.
  if (kind == WeightAndReduce::batched)
    std::ranges::stable_sort(slots, {}, [rows](std::int64_t slot) { return rows[to_size(slot)]; });
}

template <typename T>
void reduce_tokens(WeightAndReduce kind, RowGrouping const& grouping, T const* rows, std::span<float const> weights,
                   std::int64_t hidden, T* output) {
  auto const top_k = to_size(grouping.top_k);
  std::vector<std::int64_t> slots(top_k);
  std::vector<std::int64_t> ordered_rows(top_k);
  std::vector<float> ordered_weights(top_k, 1.0f);
  for (std::int64_t token = 0; token < grouping.num_tokens; ++token) {
    std::size_t const first = to_size(token) * top_k;
    order_slots(kind, std::span(grouping.row_of_flat).subspan(first, top_k), slots);
    for (std::size_t i = 0; i < top_k; ++i) {
      std::size_t const flat = first + to_size(slots[i]);
      ordered_rows[i] = grouping.row_of_flat[flat];
      if (!weights.empty()) ordered_weights[i] = weights[flat];
    }
    hd::combine_row(rows, hidden, hidden, ordered_rows.data(), ordered_weights.data(), grouping.top_k,
                    output + token * hidden);
  }
}

/// Both gradients of one (token, slot) pair.
template <typename T>
struct PairGradients {
  T const* rows;
  T const* d_output;
  T* d_rows;
  std::int64_t hidden;

  /// @return the weight's gradient; the row is read before its gradient may take its place.
  float operator()(std::int64_t row, std::int64_t token, float weight) const {
    T const* const x = rows + row * hidden;
    T const* const gradient = d_output + token * hidden;
    float const sum =
        hd::lane32_sum(hidden, [&](std::int64_t c) { return hd::mul_rn(hd::widen(x[c]), hd::widen(gradient[c])); });
    for (std::int64_t c = 0; c < hidden; ++c) d_rows[row * hidden + c] = hd::RowProduct::product(weight, gradient[c]);
    return sum;
  }
};

template <typename Function>
void by_dtype(DType dtype, Function const& function) {
  if (dtype == DType::f32) return function(float{});
  if (dtype == DType::bf16) return function(bf16_t{});
  SWITCHYARD_REQUIRE(dtype == DType::f16, unsupported, "expert outputs of dtype {}: f32, bf16 and f16",
                     to_string(dtype));
  function(f16_t{});
}

}  // namespace

std::string_view to_string(WeightAndReduce kind) noexcept {
  constexpr std::array<std::string_view, 4> kNames = {"delegate", "no_op", "contiguous", "batched"};
  return kNames[static_cast<std::size_t>(kind)];
}

void weight_and_reduce(WeightAndReduce kind, RowGrouping const& grouping, ConstTensorView const& rows,
                       std::span<float const> weights, TensorView const& output) {
  SWITCHYARD_REQUIRE(kind != WeightAndReduce::delegate, unsupported,
                     "weight and reduce is delegated: the finalize step must do it, not the experts");
  SWITCHYARD_REQUIRE(output.shape().rank() >= 1, shape_mismatch, "the output has no rows");
  bool const per_token = kind == WeightAndReduce::no_op;
  require_rows(output, "output", grouping.num_tokens, output);
  require_rows(rows, "rows", per_token ? grouping.num_tokens : grouping.num_rows(), output);
  SWITCHYARD_REQUIRE(weights.empty() || weights.size() == grouping.row_of_flat.size(), shape_mismatch,
                     "{} weights for {} tokens x {} slots", weights.size(), grouping.num_tokens, grouping.top_k);
  if (per_token) {
    std::span<std::byte> const to = output.bytes();
    if (!to.empty()) std::memmove(to.data(), rows.data(), to.size());
    return;
  }
  std::int64_t const hidden = output.extent(output.shape().rank() - 1);
  hd::FloatEnvGuard const float_env;
  by_dtype(output.dtype(), [&](auto type) {
    using T = decltype(type);
    reduce_tokens(kind, grouping, static_cast<T const*>(rows.data()), weights, hidden, static_cast<T*>(output.data()));
  });
}

void weight_and_reduce_backward(RowGrouping const& grouping, ConstTensorView const& rows,
                                std::span<float const> weights, ConstTensorView const& d_output,
                                TensorView const& d_rows, std::span<float> d_weights) {
  SWITCHYARD_REQUIRE(d_output.shape().rank() >= 1, shape_mismatch, "the output's gradient has no rows");
  require_rows(d_output, "d_output", grouping.num_tokens, d_output);
  require_rows(rows, "rows", grouping.num_rows(), d_output);
  require_rows(d_rows, "d_rows", grouping.num_rows(), d_output);
  std::size_t const pairs = grouping.row_of_flat.size();
  SWITCHYARD_REQUIRE((weights.empty() || weights.size() == pairs) && d_weights.size() == pairs, shape_mismatch,
                     "{} weights and {} gradients of them for {} tokens x {} slots", weights.size(), d_weights.size(),
                     grouping.num_tokens, grouping.top_k);
  std::ranges::fill(d_weights, 0.0f);
  std::int64_t const hidden = d_output.extent(d_output.shape().rank() - 1);
  hd::FloatEnvGuard const float_env;
  by_dtype(d_output.dtype(), [&](auto type) {
    using T = decltype(type);
    PairGradients<T> const pair{static_cast<T const*>(rows.data()), static_cast<T const*>(d_output.data()),
                                static_cast<T*>(d_rows.data()), hidden};
    for (std::size_t flat = 0; flat < pairs; ++flat)
      if (grouping.row_of_flat[flat] >= 0)
        d_weights[flat] = pair(grouping.row_of_flat[flat], static_cast<std::int64_t>(flat) / grouping.top_k,
                               weights.empty() ? 1.0f : weights[flat]);
  });
}

}  // namespace switchyard
