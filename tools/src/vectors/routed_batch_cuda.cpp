// SPDX-License-Identifier: Apache-2.0
#include <utility>

#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/router.hpp"
#include "switchyard/cuda/router_losses.hpp"
#include "switchyard/types/counts.hpp"
#include "vectors/routed_batch.hpp"

namespace switchyard::vectors {
namespace {

cuda::DeviceBuffer uploaded(std::span<float const> values, cuda::StreamView stream) {
  return cuda::upload(std::vector<float>(values.begin(), values.end()), stream);
}

/// Losses average the plain softmax, whatever the score function is: so the recorded version does.
class GpuLosses {
 public:
  GpuLosses(RouterRequest const& request, ConstTensorView const& logits, std::int32_t const* ids,
            cuda::StreamView stream)
      : losses_(ScoreFunction::softmax_pre, experts_of(logits), logits.extent(0), request.shape.batch_size + 1),
        counts_(checked_mul(logits.extent(1), static_cast<std::int64_t>(sizeof(std::int64_t)))),
        values_(3 * static_cast<std::int64_t>(sizeof(float))) {
    cuda::DeviceBuffer const scores(checked_mul(logits.shape().num_elements(), size_of(DType::f32)));
    std::int64_t const tokens = logits.extent(0);
    int const top_k = request.config.top_k;
    BalanceLoss const balance{request.balance_coefficient, top_k, tokens, tokens};
    losses_.scores(logits, scores.as<float>(), stream);
    losses_.count(ids, tokens, top_k, counts_.as<std::int64_t>(), stream);
    losses_.balance(balance, scores.as<float>(), tokens, counts_.as<std::int64_t>(), nullptr, values_.as<float>(),
                    stream);
    losses_.sequence_balance(request.balance_coefficient, top_k, request.shape, scores.as<float>(), ids,
                             values_.as<float>() + 1, stream);
    losses_.z(request.z_coefficient, logits, nullptr, values_.as<float>() + 2, stream);
    losses_.check(stream);
  }
  [[nodiscard]] std::vector<std::int64_t> counts(cuda::StreamView stream) const {
    return cuda::download<std::int64_t>(counts_, stream);
  }
  /// Balance, sequence and z loss.
  [[nodiscard]] std::vector<float> values(cuda::StreamView stream) const {
    return cuda::download<float>(values_, stream);
  }

 private:
  static int experts_of(ConstTensorView const& logits) { return static_cast<int>(logits.extent(1)); }

  cuda::RouterLosses losses_;
  cuda::DeviceBuffer counts_;
  cuda::DeviceBuffer values_;
};

}  // namespace

RoutedBatch route_on_gpu(RouterRequest const& request) {
  cuda::Stream const stream;
  std::int64_t const tokens = request.logits.extent(0);
  auto const experts = static_cast<int>(request.logits.extent(1));
  std::int64_t const slot_bytes = checked_mul(checked_mul(tokens, request.config.top_k), size_of(DType::f32));
  cuda::DeviceBuffer const memory = uploaded(request.logits.elements<float>(), stream);
  cuda::DeviceBuffer const bias = uploaded(request.bias, stream);
  cuda::DeviceBuffer const ids(slot_bytes);
  cuda::DeviceBuffer const weights(slot_bytes);
  auto const logits = memory.view(DType::f32, {tokens, experts});
  cuda::Router router(request.config, experts);
  router.route(logits, bias.as<float const>(), {ids.as<std::int32_t>(), weights.as<float>()}, stream);
  router.check(stream);
  GpuLosses const losses(request, logits, ids.as<std::int32_t const>(), stream);
  std::vector<float> const values = losses.values(stream);
  auto routing = RoutingMap::from_topk(tokens, experts, request.config.top_k, cuda::download<std::int32_t>(ids, stream),
                                       cuda::download<float>(weights, stream));
  return {std::move(routing), losses.counts(stream), values[0], values[1], values[2]};
}

}  // namespace switchyard::vectors
