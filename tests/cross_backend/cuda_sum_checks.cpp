// SPDX-License-Identifier: Apache-2.0
// What stands around the sums of a combine: tree sums of every small count, shared experts and gradients, in 16 bytes
// at a time and element by element, on every kind of float.
#include <algorithm>

#include "cuda_checks.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/sums.hpp"
#include "switchyard/hd/lane_sum.hpp"
#include "switchyard/hd/recipes.hpp"
#include "switchyard/hd/tree_sum.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace {

namespace cuda = switchyard::cuda;
namespace hd = switchyard::hd;
using switchyard::bf16_t;
using switchyard::f16_t;

template <typename T>
std::vector<T> any_rows(std::uint64_t stream, std::int64_t elements) {
  std::vector<T> rows;
  for (std::int64_t i = 0; i < elements; ++i)
    rows.push_back(as_row_element<T>(any_float(stream, static_cast<std::uint64_t>(i))));
  return rows;
}

template <typename T>
void check_trees(BitReport& report, std::string const& type, cuda::StreamView stream) {
  for (std::int64_t const terms : {1, 2, 3, 4, 5, 7, 8, 9})
    for (std::int64_t const elements : {1, 33, 4096}) {
      std::vector<float> parts;
      for (std::int64_t i = 0; i < terms * elements; ++i)
        parts.push_back(i % 3 == 0 ? any_float(41, static_cast<std::uint64_t>(i))
                                   : wide_float(42, static_cast<std::uint64_t>(i)));
      auto const on_device = cuda::upload(parts, stream);
      cuda::DeviceBuffer const output(elements * static_cast<std::int64_t>(sizeof(T)));
      cuda::launch_tree_sum({on_device.as<float>(), elements, terms, output.data(), switchyard::dtype_of<T>::value, {}},
                            stream);
      hd::tree_sum_in_place(parts.data(), elements, terms, elements);
      std::vector<T> expected;
      for (std::int64_t i = 0; i < elements; ++i) expected.push_back(hd::narrow<T>(parts[static_cast<std::size_t>(i)]));
      report.compare("tree sum of " + std::to_string(terms) + " " + type + " x " + std::to_string(elements), expected,
                     cuda::download<T>(output, stream));
    }
}

template <typename T>
void check_shared(BitReport& report, std::string const& type, cuda::StreamView stream) {
  for (std::int64_t const elements : {1, 7, 4096}) {
    auto const sums = any_rows<T>(43, elements);
    auto const shared = any_rows<T>(44, elements);
    auto const on_device = cuda::upload(sums, stream);
    auto const added = cuda::upload(shared, stream);
    cuda::launch_add_shared(on_device.data(), added.data(), elements, switchyard::dtype_of<T>::value, stream);
    std::vector<T> expected;
    for (std::size_t i = 0; i < sums.size(); ++i) expected.push_back(hd::add_shared_expert(sums[i], shared[i]));
    report.compare("shared expert " + type + " x " + std::to_string(elements), expected,
                   cuda::download<T>(on_device, stream));
  }
}

/// Entries of a few tokens, one of which is passed over.
struct Entries {
  static constexpr std::int64_t kTokens = 3;
  std::vector<std::int64_t> rows{2, 0, -1, 4, 1, 3};
  std::vector<std::int64_t> tokens{0, 0, 1, 1, 2, 2};
  std::vector<std::int64_t> index{5, 4, 3, 2, 1, 0};
  std::vector<float> weights{0.5F, -3.0F, 1.0F, 1e-30F, 7.25F, 1e30F};
};

template <typename T>
void check_gradients(BitReport& report, std::string const& type, std::int64_t columns, cuda::StreamView stream) {
  Entries const entries;
  auto const gradients = any_rows<T>(45, Entries::kTokens * columns);
  auto const results = any_rows<T>(46, static_cast<std::int64_t>(entries.rows.size()) * columns);
  std::vector<T> rows(results.size(), as_row_element<T>(0.0F));
  std::vector<float> of_weights(entries.index.size(), 0.0F);
  for (std::size_t entry = 0; entry < entries.rows.size(); ++entry) {
    if (entries.rows[entry] < 0) continue;
    T const* const gradient = gradients.data() + entries.tokens[entry] * columns;
    T const* const result = results.data() + entries.rows[entry] * columns;
    for (std::int64_t c = 0; c < columns; ++c)
      rows[static_cast<std::size_t>(entries.rows[entry] * columns + c)] =
          hd::RowProduct::product(entries.weights[entry], gradient[c]);
    of_weights[static_cast<std::size_t>(entries.index[entry])] = hd::lane32_sum(
        columns, [&](std::int64_t c) { return hd::mul_rn(hd::widen(result[c]), hd::widen(gradient[c])); });
  }
  auto const row_list = cuda::upload(entries.rows, stream);
  auto const token_list = cuda::upload(entries.tokens, stream);
  auto const index_list = cuda::upload(entries.index, stream);
  auto const weights = cuda::upload(entries.weights, stream);
  auto const in = cuda::upload(gradients, stream);
  auto const made = cuda::upload(results, stream);
  cuda::DeviceBuffer const row_gradients(made.size_bytes());
  cuda::DeviceBuffer const weight_gradients(static_cast<std::int64_t>(of_weights.size() * sizeof(float)));
  cuda::fill_bytes(row_gradients, 0, stream);
  cuda::fill_bytes(weight_gradients, 0, stream);
  cuda::SourceRowsParams const source{row_list.as<std::int64_t const>(),
                                      token_list.as<std::int64_t const>(),
                                      index_list.as<std::int64_t const>(),
                                      static_cast<std::int64_t>(entries.rows.size()),
                                      columns,
                                      switchyard::dtype_of<T>::value};
  cuda::launch_weigh_rows(source, in.data(), weights.as<float const>(), row_gradients.data(), stream);
  cuda::launch_dot_rows(source, in.data(), made.data(), weight_gradients.as<float>(), stream);
  std::string const size = type + " hidden " + std::to_string(columns);
  report.compare("row gradients " + size, rows, cuda::download<T>(row_gradients, stream));
  report.compare("weight gradients " + size, of_weights, cuda::download<float>(weight_gradients, stream));
}

template <typename T>
void check_type(BitReport& report, std::string const& type, cuda::StreamView stream) {
  check_trees<T>(report, type, stream);
  check_shared<T>(report, type, stream);
  for (std::int64_t const columns : {1, 5, 31, 32, 33, 64, 256, 1032, 7168})
    check_gradients<T>(report, type, columns, stream);
}

}  // namespace

void check_sums(BitReport& report, cuda::StreamView stream) {
  check_type<float>(report, "f32", stream);
  check_type<bf16_t>(report, "bf16", stream);
  check_type<f16_t>(report, "f16", stream);
}

}  // namespace cross_backend
