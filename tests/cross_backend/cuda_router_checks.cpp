// SPDX-License-Identifier: Apache-2.0
// The router on the GPU: choices, weights, gradients and log-sum-exp of every score function, with bias and groups.
#include "cuda_checks.hpp"
#include "router_probe.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace {

namespace cuda = switchyard::cuda;
namespace hd = switchyard::hd;
using switchyard::DType;
using switchyard::Normalisation;
using switchyard::ScoreFunction;

constexpr std::int64_t kTokens = 500;
constexpr int kExperts = 256;

std::vector<float> uniform_floats(std::uint64_t stream, std::int64_t count, float scale) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) {
    auto const word = random_word(stream, static_cast<std::uint64_t>(i)) >> 8;
    values.push_back(hd::mul_rn(static_cast<float>(word) * 0x1p-23f - 1.0f, scale));
  }
  return values;
}

/// The inputs of one check and the results of one side.
struct RouterData {
  explicit RouterData(hd::RouterStep const& step)
      : logits(uniform_floats(201, kTokens * kExperts, 12.0f)),
        bias(uniform_floats(202, kExperts, 0.25f)),
        d_weights(uniform_floats(203, kTokens * step.top_k, 3.0f)),
        float_scratch(static_cast<std::size_t>(kTokens * cross_backend::float_scratch(step)), -1.0f),
        int_scratch(static_cast<std::size_t>(kTokens * group_scratch(step)), -1),
        ids(d_weights.size(), -1),
        weights(d_weights.size(), -1.0f),
        d_logits(logits.size(), -1.0f),
        log_sums(static_cast<std::size_t>(kTokens), -1.0f) {
    logits[7] = -hd::bits_to<float>(0x7f800000u);                                              // a score of 0
    for (int e = 0; e < kExperts; ++e) logits[static_cast<std::size_t>(kExperts + e)] = 1.5f;  // all equal: ties
  }
  std::vector<float> logits, bias, d_weights, float_scratch;
  std::vector<std::int32_t> int_scratch, ids;
  std::vector<float> weights, d_logits, log_sums;
};

void run_on_host(hd::RouterStep const& step, bool biased, RouterData& data) {
  RouterArrays const arrays{data.logits.data(),      biased ? data.bias.data() : nullptr,
                            data.d_weights.data(),   data.float_scratch.data(),
                            data.int_scratch.data(), data.ids.data(),
                            data.weights.data(),     data.d_logits.data(),
                            data.log_sums.data()};
  for (std::int64_t token = 0; token < kTokens; ++token) probe_token(step, arrays, token);
}

void run_on_device(hd::RouterStep const& step, bool biased, RouterData& data, cuda::StreamView stream) {
  cuda::DeviceBuffer const logits = cuda::upload(data.logits, stream);
  cuda::DeviceBuffer const bias = cuda::upload(data.bias, stream);
  cuda::DeviceBuffer const d_weights = cuda::upload(data.d_weights, stream);
  cuda::DeviceBuffer const floats = cuda::upload(data.float_scratch, stream);
  cuda::DeviceBuffer const ints = cuda::upload(data.int_scratch, stream);
  cuda::DeviceBuffer const ids = cuda::upload(data.ids, stream);
  cuda::DeviceBuffer const weights = cuda::upload(data.weights, stream);
  cuda::DeviceBuffer const d_logits = cuda::upload(data.d_logits, stream);
  cuda::DeviceBuffer const log_sums = cuda::upload(data.log_sums, stream);
  RouterArrays const arrays{logits.as<float const>(),    biased ? bias.as<float const>() : nullptr,
                            d_weights.as<float const>(), floats.as<float>(),
                            ints.as<std::int32_t>(),     ids.as<std::int32_t>(),
                            weights.as<float>(),         d_logits.as<float>(),
                            log_sums.as<float>()};
  launch_router_probe(step, arrays, kTokens, stream);
  data.ids = cuda::download<std::int32_t>(ids, stream);
  data.weights = cuda::download<float>(weights, stream);
  data.d_logits = cuda::download<float>(d_logits, stream);
  data.log_sums = cuda::download<float>(log_sums, stream);
}

void check_step(BitReport& report, std::string const& name, hd::RouterStep const& step, bool biased,
                cuda::StreamView stream) {
  RouterData cpu(step);
  RouterData gpu(step);
  run_on_host(step, biased, cpu);
  run_on_device(step, biased, gpu, stream);
  report.compare("router " + name + ", choices", cpu.ids, gpu.ids);
  report.compare("router " + name + ", weights", cpu.weights, gpu.weights);
  report.compare("router " + name + ", gradient", cpu.d_logits, gpu.d_logits);
  report.compare("router " + name + ", log-sum-exp", cpu.log_sums, gpu.log_sums);
}

hd::RouterStep plain(ScoreFunction function) {
  return {function, Normalisation::none, DType::f32, DType::f32, kExperts, 8, 1, 1, 1, 1e-20f, 1.0f};
}

}  // namespace

void check_router(BitReport& report, cuda::StreamView stream) {
  check_step(report, "softmax before the choice", plain(ScoreFunction::softmax_pre), false, stream);
  check_step(report, "softmax after the choice", plain(ScoreFunction::softmax_post), false, stream);
  hd::RouterStep deepseek = plain(ScoreFunction::sigmoid);
  deepseek.normalisation = Normalisation::sum;
  deepseek.num_groups = 8;
  deepseek.group_topk = 4;
  deepseek.scores_per_group = 2;
  deepseek.scaling_factor = 2.5f;
  check_step(report, "sigmoid with bias in 4 of 8 groups", deepseek, true, stream);
  hd::RouterStep rounded = plain(ScoreFunction::sqrt_softplus);
  rounded.normalisation = Normalisation::l2;
  rounded.score_dtype = DType::bf16;
  rounded.weight_dtype = DType::f16;
  check_step(report, "sqrt-softplus rounded to bf16 and f16", rounded, true, stream);
}

}  // namespace cross_backend
