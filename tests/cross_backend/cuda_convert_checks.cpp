// SPDX-License-Identifier: Apache-2.0
// Conversions: every code of every format widened; floats narrowed: every pattern of the upper 16 bits with several
// lower halves (so every bf16 boundary), and 4 million random patterns.
#include <cmath>

#include "cuda_checks.hpp"
#include "switchyard/cuda/convert.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace {

namespace cuda = switchyard::cuda;
namespace hd = switchyard::hd;
using switchyard::Saturation;
using switchyard::ScaleRounding;

std::vector<float> narrowing_inputs() {
  std::vector<float> inputs;
  for (std::uint32_t high = 0; high < 0x10000; ++high)
    for (std::uint32_t const low : {0u, 1u, 0x0fffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      inputs.push_back(hd::bits_to<float>((high << 16) | low));
  for (std::uint64_t i = 0; i < 4000000; ++i) inputs.push_back(any_float(1, i));
  return inputs;
}

template <typename T, typename Cpu>
void check_narrow(BitReport& report, std::string const& name, cuda::NarrowParams<T> params,
                  std::vector<float> const& inputs, Cpu const& narrow_on_cpu, cuda::StreamView stream) {
  std::vector<T> expected;
  for (float const x : inputs) expected.push_back(narrow_on_cpu(x));
  cuda::DeviceBuffer const input = cuda::upload(inputs, stream);
  cuda::DeviceBuffer const output(static_cast<std::int64_t>(inputs.size() * sizeof(T)));
  cuda::fill_bytes(output, 0xa5, stream);
  params.input = input.as<float const>();
  params.output = output.as<T>();
  params.count = static_cast<std::int64_t>(inputs.size());
  cuda::launch_narrow(params, stream);
  report.compare("float to " + name, expected, cuda::download<T>(output, stream));
}

template <typename T>
void check_widen(BitReport& report, std::string const& name, cuda::StreamView stream) {
  using Bits = decltype(T{}.bits);
  std::vector<T> codes;
  std::vector<float> expected;
  for (std::uint32_t code = 0; code < (1u << (8 * sizeof(T))); ++code) {
    codes.push_back(T{static_cast<Bits>(code)});
    expected.push_back(hd::widen(codes.back()));
  }
  cuda::DeviceBuffer const input = cuda::upload(codes, stream);
  cuda::DeviceBuffer const output(static_cast<std::int64_t>(codes.size() * sizeof(float)));
  cuda::fill_bytes(output, 0xa5, stream);
  cuda::launch_widen<T>({input.as<T const>(), output.as<float>(), static_cast<std::int64_t>(codes.size())}, stream);
  report.compare(name + " to float", expected, cuda::download<float>(output, stream));
}

void check_narrow_fp8(BitReport& report, Saturation saturation, std::vector<float> const& inputs,
                      cuda::StreamView stream) {
  std::string const suffix = saturation == Saturation::saturate ? " saturating" : " not saturating";
  cuda::NarrowParams<switchyard::fp8_e4m3_t> e4m3{};
  cuda::NarrowParams<switchyard::fp8_e5m2_t> e5m2{};
  e4m3.saturation = e5m2.saturation = saturation;
  check_narrow(
      report, "e4m3" + suffix, e4m3, inputs, [&](float x) { return hd::round_to_e4m3(x, saturation); }, stream);
  check_narrow(
      report, "e5m2" + suffix, e5m2, inputs, [&](float x) { return hd::round_to_e5m2(x, saturation); }, stream);
  for (ScaleRounding const rounding : {ScaleRounding::toward_zero, ScaleRounding::up}) {
    cuda::NarrowParams<switchyard::e8m0_t> e8m0{};
    e8m0.saturation = saturation;
    e8m0.scale_rounding = rounding;
    check_narrow(
        report, "e8m0" + suffix + (rounding == ScaleRounding::up ? ", up" : ", toward zero"), e8m0, inputs,
        [&](float x) { return hd::round_to_e8m0(x, rounding, saturation); }, stream);
  }
}

}  // namespace

void check_conversions(BitReport& report, cuda::StreamView stream) {
  check_widen<switchyard::bf16_t>(report, "bf16", stream);
  check_widen<switchyard::f16_t>(report, "f16", stream);
  check_widen<switchyard::fp8_e4m3_t>(report, "e4m3", stream);
  check_widen<switchyard::fp8_e5m2_t>(report, "e5m2", stream);
  check_widen<switchyard::e8m0_t>(report, "e8m0", stream);
  std::vector<float> const inputs = narrowing_inputs();
  check_narrow(report, "bf16", cuda::NarrowParams<switchyard::bf16_t>{}, inputs, hd::round_to_bf16, stream);
  check_narrow(report, "f16", cuda::NarrowParams<switchyard::f16_t>{}, inputs, hd::round_to_f16, stream);
  check_narrow_fp8(report, Saturation::saturate, inputs, stream);
  check_narrow_fp8(report, Saturation::none, inputs, stream);
}

}  // namespace cross_backend
