// SPDX-License-Identifier: Apache-2.0
// Philox and fingerprints: the device's integers equal those of CounterRng and FingerprintBuilder.
#include "cuda_checks.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/digest.hpp"
#include "switchyard/hd/mix.hpp"
#include "switchyard/types/counter_rng.hpp"
#include "switchyard/types/fingerprint.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace {

namespace cuda = switchyard::cuda;

void check_random_bits(BitReport& report, std::uint64_t first_index, cuda::StreamView stream) {
  constexpr std::int64_t kCount = 1000000;
  switchyard::CounterRng const rng(kSeed, 77);
  std::vector<std::uint64_t> expected;
  for (std::int64_t i = 0; i < kCount; ++i) expected.push_back(rng.bits(first_index + static_cast<std::uint64_t>(i)));
  cuda::DeviceBuffer const output(kCount * 8);
  cuda::launch_random_bits({kSeed, 77, first_index, output.as<std::uint64_t>(), kCount}, stream);
  report.compare("random bits from index " + std::to_string(first_index), expected,
                 cuda::download<std::uint64_t>(output, stream));
}

void check_fingerprint(BitReport& report, std::int64_t count, cuda::StreamView stream) {
  constexpr std::uint32_t kField = 9;
  std::vector<std::int64_t> values;
  for (std::int64_t i = 0; i < count; ++i)
    values.push_back(static_cast<std::int64_t>(switchyard::hd::philox_bits(kSeed, 78, static_cast<std::uint64_t>(i))));
  switchyard::FingerprintBuilder builder;
  builder.add(kField, std::span<std::int64_t const>(values));
  cuda::DeviceBuffer const input = cuda::upload(values, stream);
  std::uint64_t const length = switchyard::hd::fingerprint_word(kField, switchyard::hd::kFingerprintLengthIndex, count);
  cuda::DeviceBuffer const sum = cuda::upload(std::vector<std::uint64_t>{length}, stream);
  cuda::launch_fingerprint({kField, input.as<std::int64_t const>(), count, sum.as<std::uint64_t>()}, stream);
  report.compare("fingerprint of " + std::to_string(count) + " integers",
                 std::vector<std::uint64_t>{builder.result().value}, cuda::download<std::uint64_t>(sum, stream));
}

}  // namespace

void check_digests(BitReport& report, cuda::StreamView stream) {
  check_random_bits(report, 0, stream);
  check_random_bits(report, (std::uint64_t{1} << 32) - 1000, stream);
  for (std::int64_t const count : {0, 1, 31, 255, 256, 257, 1000000}) check_fingerprint(report, count, stream);
}

}  // namespace cross_backend
