// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/router.hpp"

#include <cstring>

#include "cuda_error.hpp"
#include "router_kernels.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/pinned_buffer.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/router_setup.hpp"

namespace switchyard::cuda {

struct Router::State {
  State(RouterConfig const& given, int num_experts)
      : config(given),
        step(internal::router_step(given, num_experts)),
        rules(internal::logit_rules(given)),
        fault(sizeof(std::uint64_t)),
        fault_host(sizeof(std::uint64_t)) {}

  [[nodiscard]] RouterLogits open(ConstTensorView const& logits) const;
  [[noreturn]] void raise(std::uint64_t word) const;

  RouterConfig config;
  hd::RouterStep step;
  hd::LogitRules rules;
  DeviceBuffer fault;
  PinnedBuffer fault_host;
};

namespace {

constexpr std::uint8_t kNoFaultByte = 0xff;

bool is_row_dtype(DType dtype) {
  return dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::f16;
}

}  // namespace

RouterLogits Router::State::open(ConstTensorView const& logits) const {
  SWITCHYARD_REQUIRE(logits.shape().rank() == 2 && is_row_dtype(logits.dtype()), shape_mismatch,
                     "logits of rank {} and dtype {}: the router reads a [tokens, experts] matrix of f32, bf16 or f16",
                     logits.shape().rank(), to_string(logits.dtype()));
  SWITCHYARD_REQUIRE(logits.space() == MemorySpace::device && logits.shape().contiguous(), shape_mismatch,
                     "logits [{}, {}] lie on the host or are strided: copy them to contiguous device memory",
                     logits.extent(0), logits.extent(1));
  SWITCHYARD_REQUIRE(logits.extent(1) == step.num_experts, shape_mismatch, "logits [{}, {}] for a router of {} experts",
                     logits.extent(0), logits.extent(1), step.num_experts);
  return {logits.data(), logits.dtype(), logits.extent(0), rules, fault.as<unsigned long long>()};
}

void Router::State::raise(std::uint64_t word) const {
  auto const kind = static_cast<RouterFault>(word >> kRouterFaultShift);
  auto const detail = static_cast<std::int64_t>(word & ((std::uint64_t{1} << kRouterFaultShift) - 1));
  if (kind == RouterFault::bias)
    internal::throw_bias_fault(detail >> 32, hd::bits_to<float>(static_cast<std::uint32_t>(detail)));
  if (kind == RouterFault::selection)
    internal::throw_selection_fault(detail / step.num_experts, detail % step.num_experts);
  if (kind == RouterFault::dropped) internal::throw_dropped_choice(detail, step.top_k);
  SWITCHYARD_REQUIRE(kind == RouterFault::logit, invalid_argument,
                     "token {}, slot {} names no expert of {}: the gradient needs the ids that route() wrote",
                     detail / step.top_k, detail % step.top_k, step.num_experts);
  internal::throw_logit_fault(rules, detail % 2 != 0 ? hd::LogitFault::infinity : hd::LogitFault::nan,
                              detail / 2 / step.num_experts, detail / 2 % step.num_experts);
}

Router::Router(RouterConfig const& config, int num_experts) : state_(std::make_unique<State>(config, num_experts)) {
  std::int64_t const bytes = router_warp_bytes(state_->step);
  std::int64_t const room = prepare_router_kernels();
  SWITCHYARD_REQUIRE(bytes <= room, unsupported,
                     "a router of {} experts with top_k {} needs {} bytes of shared memory for a token's row, this "
                     "device has {}: route on the CPU",
                     num_experts, config.top_k, bytes, room);
  Stream const stream;
  forget_error(stream);
  stream.view().synchronize();
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
  SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(state_->fault_host.data(), state_->fault.data(), sizeof(std::uint64_t),
                                      cudaMemcpyDeviceToHost, stream.handle()));
  stream.synchronize();
  std::uint64_t word = 0;
  std::memcpy(&word, state_->fault_host.data(), sizeof word);
  if (word != kNoRouterFault) state_->raise(word);
}

unsigned long long const* Router::error() const noexcept {
  return state_->fault.as<unsigned long long const>();
}

void Router::forget_error(StreamView stream) {
  fill_bytes(state_->fault, kNoFaultByte, stream);
}

RouterConfig const& Router::config() const noexcept {
  return state_->config;
}
int Router::num_experts() const noexcept {
  return state_->step.num_experts;
}

}  // namespace switchyard::cuda
