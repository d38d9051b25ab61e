// SPDX-License-Identifier: Apache-2.0
// Device code of the row kernels on the host, beside hd's functions: threads are a loop where they do not meet, fibers
// where a warp does. Packs and single elements, sizes that do not divide, empty sums, every kind of float.
//
// By hand: two f32 rows 3 and 4 with weights 2 and 5 are a sum of 26; the gradient of the rows by an output gradient of
// 10 is 20 and 50, that of the weights 30 and 40.
#include "support/emulated_blocks.hpp"

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  using Word = std::conditional_t<sizeof(T) == 8, std::uint64_t, std::uint32_t>;
  int const from = static_cast<int>(threadIdx.x % 32U) ^ distance;
  return __builtin_bit_cast(T, __shfl_sync(mask, __builtin_bit_cast(Word, value), from));
}
inline unsigned long long atomicAdd(unsigned long long* word, unsigned long long value) {
  unsigned long long const old = *word;
  *word += value;
  return old;
}
inline unsigned long long atomicMin(unsigned long long* word, unsigned long long value) {
  unsigned long long const old = *word;
  if (value < old) *word = value;
  return old;
}

#include <doctest/doctest.h>

#include "byte_checksum.cu"
#include "convert.cu"
#include "cross_backend/test_data.hpp"
#include "exact_sums.cu"
#include "row_arithmetic.cu"
#include "sum_rows.cu"
#include "switchyard/internal/byte_checksum.hpp"

namespace switchyard::cuda {
namespace {

using cross_backend::any_float;
using cross_backend::wide_float;

/// Every thread of a grid after the other: for kernels whose threads do not meet.
template <typename Kernel>
void run(dim3 grid, dim3 block, Kernel const& kernel) {
  gridDim = {grid.x, grid.y};
  blockDim = {block.x, block.y};
  for (unsigned at = 0; at < grid.x * grid.y; ++at)
    for (unsigned thread = 0; thread < block.x * block.y; ++thread) {
      blockIdx = {at % grid.x, at / grid.x};
      threadIdx = {thread % block.x, thread / block.x};
      kernel();
    }
}
template <typename Kernel>
void run(Kernel const& kernel) {
  run(dim3(2), dim3(32), kernel);
}
/// Two blocks of two warps, whose threads meet.
template <typename Kernel>
void run_warps(Kernel const& kernel) {
  support::EmulatedGpus gpu(3);
  REQUIRE(gpu.run({{{{2, 64}}, [&](std::size_t) { kernel(); }}}, 2));
}

template <typename T>
struct alignas(16) Aligned {
  T value[16 / sizeof(T)];
};
/// Memory at a multiple of 16 bytes.
template <typename T>
class Memory {
 public:
  explicit Memory(std::size_t count) : count_(count), packs_(count * sizeof(T) / 16 + 1) {}
  explicit Memory(std::vector<T> const& values) : Memory(values.size()) {
    std::copy(values.begin(), values.end(), data());
  }
  [[nodiscard]] T* data() { return packs_.front().value; }
  [[nodiscard]] std::vector<T> all() { return {data(), data() + count_}; }

 private:
  std::size_t count_;
  std::vector<Aligned<T>> packs_;
};

template <typename T>
std::vector<T> drawn(std::uint64_t stream, std::size_t count) {
  std::vector<T> values;
  for (std::size_t i = 0; i < count; ++i)
    values.push_back(cross_backend::as_row_element<T>(i % 3 == 0 ? any_float(stream, i) : wide_float(stream, i)));
  return values;
}

template <typename T>
bool same(std::vector<T> const& expected, std::vector<T> const& found) {
  return expected.size() == found.size() &&
         std::memcmp(expected.data(), found.data(), expected.size() * sizeof(T)) == 0;
}

/// Entries of three tokens, one of which is passed over.
struct Entries {
  std::vector<std::int64_t> rows{2, 0, -1, 4, 1, 3};
  std::vector<std::int64_t> tokens{0, 0, 1, 1, 2, 2};
  std::vector<std::int64_t> index{5, 4, 3, 2, 1, 0};
  std::vector<float> weights{0.5F, -3.0F, 1.0F, 1e-30F, 7.25F, 1e30F};
  [[nodiscard]] SourceRowsParams params(std::int64_t columns) const {
    return {rows.data(), tokens.data(), index.data(), 6, columns, DType::f32};
  }
};

template <typename T, typename Value>
void check_row_gradients(std::int64_t columns) {
  CAPTURE(columns);
  Entries const entries;
  auto const width = static_cast<std::size_t>(columns);
  Memory<T> gradients(drawn<T>(1, 3 * width));
  Memory<T> found(6 * width);
  std::vector<T> expected = found.all();
  for (std::size_t entry = 0; entry < 6; ++entry)
    for (std::size_t c = 0; c < width && entries.rows[entry] >= 0; ++c)
      expected[static_cast<std::size_t>(entries.rows[entry]) * width + c] = hd::RowProduct::product(
          entries.weights[entry], gradients.data()[static_cast<std::size_t>(entries.tokens[entry]) * width + c]);
  run(dim3(3), block_of_rows(columns / kValues<Value>), [&] {
    weigh_rows_kernel<T, Value>(entries.params(columns), gradients.data(), entries.weights.data(), found.data());
  });
  CHECK(same(expected, found.all()));
}

template <typename T>
void check_weight_gradients(std::int64_t columns) {
  CAPTURE(columns);
  Entries const entries;
  auto const gradients = drawn<T>(1, static_cast<std::size_t>(3 * columns));
  auto const results = drawn<T>(2, static_cast<std::size_t>(6 * columns));
  std::vector<float> expected(6);
  std::vector<float> found(6);
  for (std::size_t entry = 0; entry < 6; ++entry) {
    if (entries.rows[entry] < 0) continue;
    T const* const result = results.data() + entries.rows[entry] * columns;
    T const* const gradient = gradients.data() + entries.tokens[entry] * columns;
    expected[static_cast<std::size_t>(entries.index[entry])] = hd::lane32_sum(
        columns, [&](std::int64_t c) { return hd::mul_rn(hd::widen(result[c]), hd::widen(gradient[c])); });
  }
  run_warps([&] { dot_rows_kernel<T>(entries.params(columns), gradients.data(), results.data(), found.data()); });
  CHECK(same(expected, found));
}

template <typename T, int kTerms>
void check_tree(std::size_t elements) {
  CAPTURE(kTerms);
  auto parts = drawn<float>(3, kTerms * elements);
  auto const given = parts;
  std::vector<T> expected;
  std::vector<T> found(elements);
  auto const count = static_cast<std::int64_t>(elements);
  TreeSumParams const params{const_cast<float*>(given.data()), count, kTerms, found.data(), DType::f32, {}};
  run([&] { tree_sum_kernel<T, kTerms>(params); });
  hd::tree_sum_in_place(parts.data(), count, kTerms, count);
  for (std::size_t i = 0; i < elements; ++i) expected.push_back(hd::narrow<T>(parts[i]));
  CHECK(same(expected, found));
}

template <typename T, typename Value>
void check_shared(std::size_t elements) {
  auto const sums = drawn<T>(4, elements);
  Memory<T> found(sums);
  Memory<T> shared(drawn<T>(5, elements));
  std::vector<T> expected;
  for (std::size_t i = 0; i < elements; ++i) expected.push_back(hd::add_shared_expert(sums[i], shared.data()[i]));
  run([&] {
    add_shared_kernel<T, Value>(found.data(), shared.data(), static_cast<std::int64_t>(elements) / kValues<Value>);
  });
  CHECK(same(expected, found.all()));
}

template <typename T>
void check_conversions(std::size_t count) {
  Memory<float> floats(drawn<float>(6, count));
  Memory<T> codes(count);
  std::vector<T> expected;
  NarrowParams<T> const narrow{floats.data(), codes.data(), static_cast<std::int64_t>(count)};
  for (std::size_t i = 0; i < count; ++i) expected.push_back(narrow_with<T>(narrow, floats.data()[i]));
  run([&] { narrow_kernel<T, kWide>(narrow); });
  CHECK(same(expected, codes.all()));
  std::vector<float> widened;
  for (T const code : expected) widened.push_back(hd::widen(code));
  run([&] { widen_kernel<T, kWide>({codes.data(), floats.data(), static_cast<std::int64_t>(count)}); });
  CHECK(same(widened, floats.all()));
}

/// Sums of up to nine rows of seven, some of them dropped.
struct Sums {
  explicit Sums(std::int64_t count) {
    for (std::int64_t sum = 0; sum < count; ++sum) {
      for (std::uint32_t term = 0; term < cross_backend::random_word(7, static_cast<std::uint64_t>(sum)) % 10; ++term) {
        auto const word = cross_backend::random_word(8, rows.size());
        rows.push_back(word % 8 == 0 ? -1 : static_cast<std::int64_t>(word % 7));
        weights.push_back(word % 5 == 0 ? wide_float(9, rows.size()) : static_cast<float>(word % 9) - 4.0F);
      }
      begin.push_back(static_cast<std::int64_t>(rows.size()));
    }
  }
  [[nodiscard]] std::size_t first(std::int64_t sum) const {
    return static_cast<std::size_t>(begin[static_cast<std::size_t>(sum)]);
  }
  [[nodiscard]] std::int64_t terms(std::int64_t sum) const {
    return begin[static_cast<std::size_t>(sum) + 1] - begin[static_cast<std::size_t>(sum)];
  }
  std::vector<std::int64_t> begin{0};
  std::vector<std::int64_t> rows;
  std::vector<float> weights;
};

/// @param values of the seven rows
template <typename T>
void check_sums(std::vector<T> const& values, std::int64_t columns) {
  constexpr std::int64_t kSums = 11;
  Sums const sums(kSums);
  Memory<T> rows(values);
  Memory<T> shared(drawn<T>(10, static_cast<std::size_t>(kSums * columns)));
  Memory<T> found(static_cast<std::size_t>(kSums * columns));
  SumRowsParams const params{rows.data(),      DType::f32,          found.data(), DType::f32, sums.begin.data(),
                             sums.rows.data(), sums.weights.data(), kSums,        columns};
  std::vector<T> rounded;
  std::vector<T> exact;
  for (std::int64_t i = 0; i < kSums * columns; ++i) {
    std::size_t const first = sums.first(i / columns);
    std::int64_t const terms = sums.terms(i / columns);
    rounded.push_back(hd::combine_element<T, T, hd::Fp32Product>(
        rows.data(), columns, i % columns, sums.rows.data() + first, sums.weights.data() + first, terms));
    exact.push_back(hd::exact_element<T>(rows.data(), columns, i % columns, sums.rows.data() + first,
                                         sums.weights.data() + first, terms, shared.data() + i));
  }
  auto const [grid, block] = pack_grid(kSums, columns / kPack<T>);
  run(grid, block, [&] { sum_equal_packs_kernel<T, hd::Fp32Product>(params); });
  CHECK(same(rounded, found.all()));
  run(grid, block, [&] { exact_packs_kernel<T, float>({params, false, shared.data()}); });
  CHECK(same(exact, found.all()));
}

template <typename T>
void check_type() {
  for (std::int64_t const columns : {1, 5, 33, 264}) check_row_gradients<T, Single<T>>(columns);
  for (std::int64_t const columns : {8, 64, 1032}) check_row_gradients<T, Pack<T>>(columns);
  for (std::int64_t const columns : {1, 31, 32, 33, 255, 256, 257, 600}) check_weight_gradients<T>(columns);
  for (std::size_t const elements : {1U, 33U, 256U}) {
    check_tree<T, 2>(elements);
    check_tree<T, 4>(elements);
    check_tree<T, 8>(elements);
    check_shared<T, Single<T>>(elements);
  }
  check_shared<T, Pack<T>>(256);
  for (std::int64_t const columns : {8, 64, 264, 1032}) {
    CAPTURE(columns);
    auto const count = static_cast<std::size_t>(7 * columns);
    check_sums(drawn<T>(11, count), columns);
    std::vector<T> small;  // sums of which many are exact already, or halfway between two values
    for (std::size_t i = 0; i < count; ++i)
      small.push_back(hd::narrow<T>(static_cast<float>(cross_backend::random_word(12, i) % 513) - 256.0F));
    check_sums(small, columns);
  }
}

}  // namespace

TEST_CASE("sums and gradients of rows by packs and by elements") {
  check_type<float>();
  check_type<bf16_t>();
  check_type<f16_t>();
}

TEST_CASE("the example by hand") {
  std::vector<std::int64_t> const begin{0, 2};
  std::vector<std::int64_t> const list{0, 1};
  std::vector<std::int64_t> const token{0, 0};
  std::vector<float> const weights{2, 5};
  Memory<float> rows(std::vector<float>{3, 3, 3, 3, 4, 4, 4, 4});
  Memory<float> gradient(std::vector<float>{10, 10, 10, 10});
  Memory<float> out(8);
  run(dim3(1), dim3(32), [&] {
    sum_equal_packs_kernel<float, hd::Fp32Product>(
        {rows.data(), DType::f32, out.data(), DType::f32, begin.data(), list.data(), weights.data(), 1, 4});
  });
  CHECK(out.all()[3] == 26);
  SourceRowsParams const source{list.data(), token.data(), list.data(), 2, 4, DType::f32};
  run(dim3(1), dim3(32),
      [&] { weigh_rows_kernel<float, Pack<float>>(source, gradient.data(), weights.data(), out.data()); });
  CHECK(out.all() == std::vector<float>{20, 20, 20, 20, 50, 50, 50, 50});
}

TEST_CASE("conversions in runs of four") {
  for (std::size_t const count : {4U, 64U, 4096U}) {
    check_conversions<bf16_t>(count);
    check_conversions<f16_t>(count);
    check_conversions<fp8_e4m3_t>(count);
    check_conversions<fp8_e5m2_t>(count);
    check_conversions<e8m0_t>(count);
  }
}

TEST_CASE("checksums of any length and alignment") {
  for (std::size_t const bytes : {0U, 1U, 7U, 8U, 9U, 16U, 24U, 1000U, 4104U})
    for (std::size_t const offset : {0U, 1U, 8U}) {
      CAPTURE(bytes);
      CAPTURE(offset);
      Memory<std::uint8_t> memory(bytes + offset);
      for (std::size_t i = 0; i < bytes + offset; ++i)
        memory.data()[i] = static_cast<std::uint8_t>(cross_backend::random_word(13, i));
      std::uint8_t const* const data = memory.data() + offset;
      unsigned long long found = 0;
      run_warps([&] { byte_checksum_kernel(data, static_cast<std::int64_t>(bytes), &found); });
      CHECK(found == internal::byte_checksum({reinterpret_cast<std::byte const*>(data), bytes}));
    }
}

}  // namespace switchyard::cuda
