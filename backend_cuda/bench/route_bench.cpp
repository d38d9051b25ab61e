// SPDX-License-Identifier: Apache-2.0
// bench_router(): the router of one GPU, top-8 of 256 experts: forward, backward and both, beside a device copy in the
// same run. Bytes: logits read once, ids and weights written; backward: logits, ids and gradients of weights read,
// gradients of logits written. Nothing is in the second-level cache when a sample begins.
#include <random>

#include "gpu_benches.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/router.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace gpu_bench {
namespace {

namespace cuda = switchyard::cuda;
using switchyard::DType;
using switchyard::RouterConfig;
using switchyard::ScoreFunction;

constexpr int kExperts = 256;
constexpr int kTopK = 8;

double copy_bandwidth(Results& results, KernelTimer& timer) {
  constexpr std::int64_t kCopied = 256 << 20;
  cuda::DeviceBuffer const from(kCopied);
  cuda::DeviceBuffer const to(kCopied);
  auto const samples = timer.sample([&] { cuda::copy_device(from, to, timer.stream()); });
  double const gbs = 2.0 * kCopied / median(samples) * 1e-3;
  results.add("device copy", {}, 2.0 * kCopied, gbs, samples);
  return gbs;
}

std::vector<float> draw(std::int64_t count, float scale) {
  std::mt19937_64 random(static_cast<std::uint64_t>(count));
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i)
    values.push_back((static_cast<float>(random() % 65536) / 32768.0F - 1.0F) * scale);
  return values;
}

cuda::DeviceBuffer upload_as(DType dtype, std::vector<float> const& values, cuda::StreamView stream) {
  if (dtype == DType::f32) return cuda::upload(values, stream);
  std::vector<switchyard::bf16_t> narrow;
  for (float const value : values) narrow.push_back(switchyard::to_bf16(value));
  return cuda::upload(narrow, stream);
}

struct RouterRow {
  char const* name;
  RouterConfig config;
  bool has_bias;
};

std::vector<RouterRow> router_rows() {
  RouterConfig plain;
  plain.score_function = ScoreFunction::softmax_pre;
  plain.top_k = kTopK;
  RouterConfig deepseek;
  deepseek.score_function = ScoreFunction::sigmoid;
  deepseek.top_k = kTopK;
  deepseek.groups = switchyard::GroupLimit{8, 4, 2};
  deepseek.normalisation = switchyard::Normalisation::sum;
  deepseek.scaling_factor = 2.5F;
  return {{"softmax_pre", plain, false}, {"sigmoid, 4 of 8 groups, bias", deepseek, true}};
}

void bench_router_row(Results& results, KernelTimer& timer, RouterRow const& row, DType dtype, std::int64_t tokens,
                      double copy_gbs) {
  auto const stream = timer.stream();
  cuda::Router router(row.config, kExperts);
  auto const logits = upload_as(dtype, draw(tokens * kExperts, 8.0F), stream);
  auto const bias = cuda::upload(draw(kExperts, 0.1F), stream);
  auto const d_weights = cuda::upload(draw(tokens * kTopK, 1.0F), stream);
  cuda::DeviceBuffer const ids(tokens * kTopK * 4);
  cuda::DeviceBuffer const weights(tokens * kTopK * 4);
  cuda::DeviceBuffer const d_logits(tokens * kExperts * 4);
  auto const view = logits.view(dtype, {tokens, kExperts});
  auto const forward = [&] {
    router.route(view, row.has_bias ? bias.as<float const>() : nullptr, {ids.as<std::int32_t>(), weights.as<float>()},
                 stream);
  };
  auto const backward = [&] {
    router.backward(view, ids.as<std::int32_t const>(), d_weights.as<float const>(), d_logits.as<float>(), stream);
  };
  std::string const name =
      std::string(row.name) + ", " + std::string(to_string(dtype)) + ", " + std::to_string(tokens) + " tokens";
  std::vector<std::pair<std::string, double>> const fields{{"tokens", static_cast<double>(tokens)}};
  auto const read = static_cast<double>(logits.size_bytes());
  auto const choices = static_cast<double>(ids.size_bytes() + weights.size_bytes());
  double const back = read + choices + static_cast<double>(d_logits.size_bytes());
  results.add("route " + name, fields, read + choices, copy_gbs, timer.sample(forward));
  results.add("route backward " + name, fields, back, copy_gbs, timer.sample(backward));
  auto const both = [&] {
    forward();
    backward();
  };
  results.add("route and backward " + name, fields, read + choices + back, copy_gbs, timer.sample(both));
  router.check(stream);
}

}  // namespace

void bench_router(Results& results, KernelTimer& timer) {
  double const copy_gbs = copy_bandwidth(results, timer);
  for (std::int64_t const tokens : {4096, 32768})
    for (RouterRow const& row : router_rows())
      for (DType const dtype : {DType::f32, DType::bf16})
        bench_router_row(results, timer, row, dtype, tokens, copy_gbs);
}

}  // namespace gpu_bench
