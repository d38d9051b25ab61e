// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cuda/router_sinkhorn.hpp"

#include "cuda_error.hpp"
#include "device_list.hpp"
#include "router_logits.hpp"
#include "router_sinkhorn_kernels.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/router_setup.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::cuda {

struct Sinkhorn::State {
  State(SinkhornOptions const& given, int num_experts, std::int64_t most_tokens)
      : options(given),
        experts(num_experts),
        max_tokens(most_tokens),
        of_token(checked_mul(most_tokens, kFloatBytes)),
        of_expert(num_experts * kFloatBytes),
        change(num_experts * kFloatBytes),
        outcome(sizeof(SinkhornOutcome)) {}

  static constexpr std::int64_t kFloatBytes = sizeof(float);
  SinkhornOptions options;
  int experts;
  std::int64_t max_tokens;
  RouterFaultWord fault;
  DeviceBuffer of_token;
  DeviceBuffer of_expert;
  DeviceBuffer change;
  DeviceBuffer outcome;
};

Sinkhorn::Sinkhorn(SinkhornOptions const& options, int num_experts, std::int64_t max_tokens) {
  internal::require_sinkhorn(options);
  SWITCHYARD_REQUIRE(num_experts >= 1 && max_tokens >= 0, invalid_argument,
                     "Sinkhorn for {} experts and {} tokens: give at least one expert", num_experts, max_tokens);
  state_ = std::make_unique<State>(options, num_experts, max_tokens);
  std::int64_t const bytes = num_experts * State::kFloatBytes;
  std::int64_t const room = prepare_sinkhorn_kernels();
  SWITCHYARD_REQUIRE(bytes <= room, unsupported,
                     "Sinkhorn over {} experts needs {} bytes of shared memory for a token's row, this device has {}: "
                     "compute it on the CPU",
                     num_experts, bytes, room);
  clear_now({&state_->outcome});
}
Sinkhorn::~Sinkhorn() = default;
Sinkhorn::Sinkhorn(Sinkhorn&&) noexcept = default;
Sinkhorn& Sinkhorn::operator=(Sinkhorn&&) noexcept = default;

void Sinkhorn::balance(ConstTensorView const& logits, float* balanced, StreamView stream) {
  State const& state = *state_;
  RouterLogits const rows = open_logits(logits, state.experts, hd::LogitRules{}, state.fault);
  SWITCHYARD_REQUIRE(rows.tokens <= state.max_tokens, invalid_argument,
                     "Sinkhorn over {} tokens, its memory was made for {}", rows.tokens, state.max_tokens);
  launch_sinkhorn(
      {rows, state.experts, state.options.tolerance, state.options.max_iterations, balanced, state.of_token.as<float>(),
       state.of_expert.as<float>(), state.change.as<float>(), state.outcome.as<SinkhornOutcome>()},
      stream);
}

std::int32_t const* Sinkhorn::iterations() const noexcept {
  return &state_->outcome.as<SinkhornOutcome>()->iterations;
}

void Sinkhorn::check(StreamView stream) const {
  State const& state = *state_;
  SinkhornOutcome const outcome = download<SinkhornOutcome>(state.outcome, stream).front();
  state.fault.check({hd::LogitRules{}, state.experts, 1}, stream);
  if (outcome.end == SinkhornEnd::overflow) internal::throw_sinkhorn_overflow(outcome.iterations);
  bool const is_bound = outcome.end == SinkhornEnd::bound && outcome.iterations > 0;
  if (is_bound) internal::throw_sinkhorn_bound(state.options.tolerance, state.options.max_iterations);
}

void Sinkhorn::forget_error(StreamView stream) {
  state_->fault.forget(stream);
}

}  // namespace switchyard::cuda
