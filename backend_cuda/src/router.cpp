// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/router.hpp"

#include "router_kernels.hpp"
#include "router_logits.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/router_setup.hpp"

namespace switchyard::cuda {

struct Router::State {
  State(RouterConfig const& given, int num_experts)
      : config(given), step(internal::router_step(given, num_experts)), rules(internal::logit_rules(given)) {}

  [[nodiscard]] RouterLogits open(ConstTensorView const& logits) const {
    return open_logits(logits, step.num_experts, rules, fault);
  }

  RouterConfig config;
  hd::RouterStep step;
  hd::LogitRules rules;
  RouterFaultWord fault;
};

Router::Router(RouterConfig const& config, int num_experts) : state_(std::make_unique<State>(config, num_experts)) {
  std::int64_t const bytes = router_warp_bytes(state_->step);
  std::int64_t const room = prepare_router_kernels();
  SWITCHYARD_REQUIRE(bytes <= room, unsupported,
                     "a router of {} experts with top_k {} needs {} bytes of shared memory for a token's row, this "
                     "device has {}: route on the CPU",
                     num_experts, config.top_k, bytes, room);
}
Router::~Router() = default;
Router::Router(Router&&) noexcept = default;
Router& Router::operator=(Router&&) noexcept = default;

void Router::route(ConstTensorView const& logits, float const* bias, DeviceChoices const& out, StreamView stream) {
  if (bias != nullptr) internal::require_takes_bias(state_->config);
  launch_route({state_->open(logits), state_->step, bias, nullptr, out.ids, out.weights}, stream);
}

void Router::route_by(ConstTensorView const& logits, float const* selection, DeviceChoices const& out,
                      StreamView stream) {
  RouterLogits const rows = state_->open(logits);
  SWITCHYARD_REQUIRE(selection != nullptr || rows.tokens == 0, invalid_argument,
                     "no values to choose {} tokens' experts by: pass [tokens, experts], or call route()", rows.tokens);
  launch_route({rows, state_->step, nullptr, selection, out.ids, out.weights}, stream);
}

void Router::backward(ConstTensorView const& logits, std::int32_t const* ids, float const* d_weights, float* d_logits,
                      StreamView stream) {
  launch_route_gradient({state_->open(logits), state_->step, ids, d_weights, d_logits}, stream);
}

void Router::check(StreamView stream) const {
  state_->fault.check({state_->rules, state_->step.num_experts, state_->step.top_k}, stream);
}

unsigned long long const* Router::error() const noexcept {
  return state_->fault.get();
}

void Router::forget_error(StreamView stream) {
  state_->fault.forget(stream);
}

RouterConfig const& Router::config() const noexcept {
  return state_->config;
}
int Router::num_experts() const noexcept {
  return state_->step.num_experts;
}

}  // namespace switchyard::cuda
