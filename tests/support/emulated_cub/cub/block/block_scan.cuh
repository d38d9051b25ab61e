// SPDX-License-Identifier: Apache-2.0
/// cub::BlockScan for emulated kernels (emulated_device.hpp): the sums that it names, one thread at a time.
#pragma once

#include "support/emulated_device.hpp"

namespace cub {

template <typename T, int kThreads>
class BlockScan {
 public:
  struct TempStorage {
    T values[kThreads];
  };
  explicit BlockScan(TempStorage& storage) : storage_(storage) {}

  void ExclusiveSum(T input, T& output, T& sum) {
    unsigned const self = threadIdx.y * blockDim.x + threadIdx.x;
    storage_.values[self] = input;
    __syncthreads();
    T before{};
    T all{};
    for (unsigned i = 0; i < static_cast<unsigned>(kThreads); ++i) {
      if (i == self) before = all;
      all = static_cast<T>(all + storage_.values[i]);
    }
    __syncthreads();
    output = before;
    sum = all;
  }
  void ExclusiveSum(T input, T& output) {
    T sum{};
    ExclusiveSum(input, output, sum);
  }

 private:
  TempStorage& storage_;
};

}  // namespace cub
