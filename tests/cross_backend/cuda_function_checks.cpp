// SPDX-License-Identifier: Apache-2.0
// Elementary functions: fp64 ones (the load generators) and fp32 ones (the router) on a million inputs each.
#include "cuda_checks.hpp"
#include "function_probe.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace {

namespace cuda = switchyard::cuda;
namespace hd = switchyard::hd;

constexpr std::int64_t kCount = 1000000;

double uniform(std::uint64_t i) {
  return static_cast<double>(hd::philox_bits(kSeed, 90, i) >> 11) * 0x1p-53;
}

double double_input(DoubleFunction function, std::uint64_t i) {
  if (i % 16 == 0) return hd::bits_to<double>(hd::philox_bits(kSeed, 91, i));  // any bits
  switch (function) {
    case DoubleFunction::exp: return (uniform(i) - 0.5) * 1500;
    case DoubleFunction::log: return hd::bits_to<double>(hd::philox_bits(kSeed, 92, i) >> 1);
    case DoubleFunction::normal_quantile: return i % 2 == 0 ? uniform(i) : uniform(i) * 0x1p-40;
  }
  return 0;
}

void check_double(BitReport& report, std::string const& name, DoubleFunction function, cuda::StreamView stream) {
  std::vector<double> inputs;
  std::vector<double> expected;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    inputs.push_back(double_input(function, i));
    expected.push_back(call_on_host(function, inputs.back()));
  }
  cuda::DeviceBuffer const input = cuda::upload(inputs, stream);
  cuda::DeviceBuffer const output(kCount * 8);
  launch_function(function, input.as<double const>(), output.as<double>(), kCount, stream);
  report.compare("fp64 " + name, expected, cuda::download<double>(output, stream));
}

void check_float(BitReport& report, std::string const& name, FloatFunction function, cuda::StreamView stream) {
  std::vector<float> inputs;
  for (std::uint64_t i = 0; i < kCount; ++i)
    inputs.push_back(i % 2 == 0 ? any_float(93, i) : static_cast<float>((uniform(i) - 0.5) * 220));
  std::vector<float> expected;
  for (std::size_t i = 0; i < inputs.size(); ++i)
    expected.push_back(call_on_host(function, inputs[i], inputs[inputs.size() - 1 - i]));
  cuda::DeviceBuffer const input = cuda::upload(inputs, stream);
  cuda::DeviceBuffer const output(kCount * 4);
  launch_function(function, input.as<float const>(), output.as<float>(), kCount, stream);
  report.compare("fp32 " + name, expected, cuda::download<float>(output, stream));
}

}  // namespace

void check_functions(BitReport& report, cuda::StreamView stream) {
  check_double(report, "exp", DoubleFunction::exp, stream);
  check_double(report, "log", DoubleFunction::log, stream);
  check_double(report, "normal quantile", DoubleFunction::normal_quantile, stream);
  check_float(report, "exp", FloatFunction::exp, stream);
  check_float(report, "log", FloatFunction::log, stream);
  check_float(report, "softplus", FloatFunction::softplus, stream);
  check_float(report, "sigmoid", FloatFunction::sigmoid, stream);
  check_float(report, "tanh", FloatFunction::tanh, stream);
  check_float(report, "erf", FloatFunction::erf, stream);
  check_float(report, "rsqrt", FloatFunction::rsqrt, stream);
  check_float(report, "min", FloatFunction::min, stream);
  check_float(report, "max", FloatFunction::max, stream);
}

}  // namespace cross_backend
