// SPDX-License-Identifier: Apache-2.0
/// Sums of rows by packs: a thread owns 16 bytes of columns of one sum and walks its terms in the order of the list.
#pragma once

#include <cstdint>

namespace switchyard::cuda {

template <typename T>
inline constexpr int kPack = 16 / static_cast<int>(sizeof(T));

template <typename T>
struct alignas(16) Pack {
  T value[kPack<T>];
};

/// Whether rows of `columns` elements at these addresses divide into packs.
template <typename T>
bool packs_fit(std::int64_t columns, void const* rows, void const* output, void const* others = nullptr) {
  auto const addresses = reinterpret_cast<std::uintptr_t>(rows) | reinterpret_cast<std::uintptr_t>(output) |
                         reinterpret_cast<std::uintptr_t>(others);
  return columns % kPack<T> == 0 && addresses % 16 == 0;
}

template <typename T>
__device__ inline Pack<T> load_pack(T const* from) {
  uint4 const bits = __ldcs(reinterpret_cast<uint4 const*>(from));
  return __builtin_bit_cast(Pack<T>, bits);
}

/// Terms whose rows are loaded together before the first is added; the additions keep their order.
inline constexpr int kTermsInFlight = 4;

template <typename T, typename Step, typename Index>
__device__ inline void add_terms(T const* columns_of_rows, std::int64_t row_stride, Index const* rows,
                                 typename Step::Weight const* weights, std::int64_t count, typename Step::Sum* sums) {
  for (std::int64_t begin = 0; begin < count; begin += kTermsInFlight) {
    Pack<T> packs[kTermsInFlight];
    Index row[kTermsInFlight];
#pragma unroll
    for (int i = 0; i < kTermsInFlight; ++i) {
      row[i] = begin + i < count ? rows[begin + i] : Index{-1};
      if (row[i] >= 0) packs[i] = load_pack(columns_of_rows + static_cast<std::int64_t>(row[i]) * row_stride);
    }
#pragma unroll
    for (int i = 0; i < kTermsInFlight; ++i) {
      if (row[i] < 0) continue;
      auto const weight = Step::weight_of(weights, begin + i);
#pragma unroll
      for (int c = 0; c < kPack<T>; ++c) sums[c] = Step::add(sums[c], weight, packs[i].value[c]);
    }
  }
}

}  // namespace switchyard::cuda
