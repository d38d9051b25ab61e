// SPDX-License-Identifier: Apache-2.0
// Permute, chunk sort and combine of AlltoAll-shaped vectors, stage by stage, on rows of fp32, bf16 and fp16: no
// tokens, one token, odd hidden sizes, NaN, infinities, subnormals, -0, and sums whose bits depend on the order.
#include <algorithm>

#include "alltoall_vector.hpp"
#include "cuda_checks.hpp"
#include "row_report.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/rows.hpp"
#include "switchyard/hd/combine_step.hpp"
#include "switchyard/hd/gather_step.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace {

namespace cuda = switchyard::cuda;
namespace hd = switchyard::hd;

template <typename T>
std::vector<T> gather_on_cpu(std::vector<T> const& input, std::int64_t hidden, std::vector<std::int64_t> const& map) {
  std::vector<T> output(map.size() * static_cast<std::size_t>(hidden));
  for (std::size_t row = 0; row < map.size(); ++row)
    hd::gather_row(reinterpret_cast<std::byte const*>(input.data()), hidden * static_cast<std::int64_t>(sizeof(T)),
                   map.data(), static_cast<std::int64_t>(row), reinterpret_cast<std::byte*>(output.data()));
  return output;
}

template <typename T>
std::vector<T> gather_on_gpu(std::vector<T> const& input, std::int64_t hidden, std::vector<std::int64_t> const& map,
                             cuda::StreamView stream) {
  cuda::DeviceBuffer const rows = cuda::upload(input, stream);
  cuda::DeviceBuffer const indices = cuda::upload(map, stream);
  std::int64_t const row_bytes = hidden * static_cast<std::int64_t>(sizeof(T));
  auto const num_rows = static_cast<std::int64_t>(map.size());
  cuda::DeviceBuffer const output(num_rows * row_bytes);
  cuda::fill_bytes(output, 0xa5, stream);
  cuda::launch_gather_rows({rows.data(), output.data(), indices.as<std::int64_t const>(), num_rows, row_bytes}, stream);
  return cuda::download<T>(output, stream);
}

template <typename T>
std::vector<T> combine_on_cpu(AlltoallVector const& v, std::vector<T> const& rows) {
  std::int64_t const hidden = v.shape.hidden;
  std::vector<T> output(static_cast<std::size_t>(v.shape.num_tokens * hidden));
  for (std::int64_t token = 0; token < v.shape.num_tokens; ++token) {
    std::int64_t const first = token * v.shape.topk;
    hd::combine_row(rows.data(), hidden, hidden, v.token_rows.data() + first, v.row_weights.data() + first,
                    v.shape.topk, output.data() + token * hidden);
  }
  return output;
}

template <typename T>
std::vector<T> combine_on_gpu(AlltoallVector const& v, std::vector<T> const& rows, cuda::StreamView stream) {
  std::int64_t const hidden = v.shape.hidden;
  cuda::DeviceBuffer const row_data = cuda::upload(rows, stream);
  cuda::DeviceBuffer const row_begin = cuda::upload(v.row_begin, stream);
  cuda::DeviceBuffer const token_rows = cuda::upload(v.token_rows, stream);
  cuda::DeviceBuffer const weights = cuda::upload(v.row_weights, stream);
  cuda::DeviceBuffer const output(v.shape.num_tokens * hidden * static_cast<std::int64_t>(sizeof(T)));
  cuda::fill_bytes(output, 0xa5, stream);
  cuda::launch_combine_rows<T>(
      {row_data.as<T const>(), output.as<T>(), row_begin.as<std::int64_t const>(), token_rows.as<std::int64_t const>(),
       weights.as<float const>(), v.shape.num_tokens, hidden, hidden},
      stream);
  return cuda::download<T>(output, stream);
}

/// How many combined values have other bits when every token's slots are added in descending order.
template <typename T>
std::size_t count_order_dependent(AlltoallVector v, std::vector<T> const& rows, std::vector<T> const& combined) {
  for (std::int64_t token = 0; token < v.shape.num_tokens; ++token) {
    std::reverse(v.token_rows.begin() + token * v.shape.topk, v.token_rows.begin() + (token + 1) * v.shape.topk);
    std::reverse(v.row_weights.begin() + token * v.shape.topk, v.row_weights.begin() + (token + 1) * v.shape.topk);
  }
  std::vector<T> const reversed = combine_on_cpu(v, rows);
  std::size_t count = 0;
  for (std::size_t i = 0; i < reversed.size(); ++i) count += std::memcmp(&reversed[i], &combined[i], sizeof(T)) != 0;
  return count;
}

enum class RowData { any_bits, wide_exponents };

/// Rows of one rank, by their tokens.
std::vector<switchyard::RowTag> tags_of(std::vector<std::int64_t> const& tokens) {
  std::vector<switchyard::RowTag> tags;
  for (std::int64_t const token : tokens) tags.push_back({switchyard::RankId{0}, token});
  return tags;
}

/// One vector through all stages; the chunk sort's result stands in for the expert outputs.
template <typename T>
void check_vector(BitReport& report, std::string const& dtype, AlltoallVector const& v, RowData kind,
                  cuda::StreamView stream) {
  AlltoallShape const& s = v.shape;
  std::string const name = dtype + (kind == RowData::any_bits ? " any bits" : " wide exponents") +
                           " T=" + std::to_string(s.num_tokens) + " K=" + std::to_string(s.topk) +
                           " H=" + std::to_string(s.hidden);
  std::vector<T> tokens(static_cast<std::size_t>(s.num_tokens * s.hidden));
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = as_row_element<T>(kind == RowData::any_bits ? any_float(20, i) : wide_float(21, i));
  std::vector<T> const permuted = gather_on_cpu(tokens, s.hidden, v.permute);
  auto const tags = tags_of(v.permute);
  compare_rows(report, "permute " + name, {0, s.hidden, 1, v.permuted_blocks, {}, tags}, permuted,
               gather_on_gpu(tokens, s.hidden, v.permute, stream));
  std::vector<T> const sorted = gather_on_cpu(permuted, s.hidden, v.chunk_sort);
  auto const sorted_tags = tags_of(gather_on_cpu(v.permute, 1, v.chunk_sort));
  compare_rows(report, "chunk sort " + name, {0, s.hidden, 1, v.sorted_blocks, {}, sorted_tags}, sorted,
               gather_on_gpu(permuted, s.hidden, v.chunk_sort, stream));
  std::vector<T> const combined = combine_on_cpu(v, sorted);
  std::size_t const dependent = count_order_dependent(v, sorted, combined);
  compare_rows(report, "combine " + name, {0, s.hidden}, combined, combine_on_gpu(v, sorted, stream),
               std::to_string(dependent) + " would have other bits in descending slot order");
}

/// Sums that cancel: two slots of every (token, column) hold +M and -M, the others small numbers that lose bits when
/// they are added between the two. Weights are powers of two, so that the two products cancel exactly.
float cancelling_value(AlltoallShape const& s, std::int64_t slot_of_all, std::int64_t column, float weight) {
  constexpr float kLarge = 4096;
  std::int64_t const plus = (slot_of_all / s.topk + column) % s.topk;
  std::int64_t const minus = (plus + 1 + column % (s.topk - 1)) % s.topk;
  if (slot_of_all % s.topk == plus) return kLarge / weight;
  if (slot_of_all % s.topk == minus) return -kLarge / weight;
  std::uint32_t const random = random_word(31, static_cast<std::uint64_t>(slot_of_all * s.hidden + column));
  return hd::bits_to<float>((random & 0x807fffffu) | (121u << 23));  // +- [2^-6, 2^-5)
}

template <typename T>
void check_cancelling(BitReport& report, std::string const& dtype, cuda::StreamView stream) {
  AlltoallVector v{{120, 6, 1, 1, 65}, {}, {}, {}, {}, {}};
  AlltoallShape const& s = v.shape;
  std::int64_t const num_rows = s.num_tokens * s.topk;
  std::vector<T> rows(static_cast<std::size_t>(num_rows * s.hidden));
  for (std::int64_t i = 0; i < num_rows; ++i) {
    v.token_rows.push_back(i * 7919 % num_rows);  // a prime that does not divide num_rows: a permutation
    v.row_weights.push_back(
        hd::bits_to<float>((124u + random_word(30, static_cast<std::uint64_t>(i)) % 7u) << 23));  // 2^-3 ... 2^3
    for (std::int64_t c = 0; c < s.hidden; ++c)
      rows[static_cast<std::size_t>(v.token_rows.back() * s.hidden + c)] =
          as_row_element<T>(cancelling_value(s, i, c, v.row_weights.back()));
  }
  for (std::int64_t token = 0; token <= s.num_tokens; ++token) v.row_begin.push_back(token * s.topk);
  std::vector<T> const combined = combine_on_cpu(v, rows);
  std::size_t const dependent = count_order_dependent(v, rows, combined);
  compare_rows(report, "combine " + dtype + " cancelling", {0, s.hidden}, combined, combine_on_gpu(v, rows, stream),
               std::to_string(dependent) + " would have other bits in descending slot order");
  report.state(dependent > combined.size() / 10,
               "data " + dtype + " cancelling: the order decides over 10 % of the values");
}

}  // namespace

void check_rows(BitReport& report, cuda::StreamView stream) {
  AlltoallShape const shapes[] = {{0, 2, 4, 2, 8},    {1, 1, 1, 1, 1},     {5, 2, 3, 2, 3},
                                  {130, 4, 8, 3, 33}, {257, 8, 16, 4, 64}, {100, 8, 5, 7, 1000}};
  std::uint64_t stream_id = 100;
  for (AlltoallShape const& shape : shapes)
    for (RowData const kind : {RowData::any_bits, RowData::wide_exponents}) {
      AlltoallVector const v = make_alltoall(shape, stream_id += 10);
      check_vector<float>(report, "f32", v, kind, stream);
      check_vector<switchyard::bf16_t>(report, "bf16", v, kind, stream);
      check_vector<switchyard::f16_t>(report, "f16", v, kind, stream);
    }
  check_cancelling<float>(report, "f32", stream);
  check_cancelling<switchyard::bf16_t>(report, "bf16", stream);
  check_cancelling<switchyard::f16_t>(report, "f16", stream);
}

}  // namespace cross_backend
