// SPDX-License-Identifier: Apache-2.0
/// Router: the router front end on the device, with the CPU's choices, weights and gradients. No CUDA header needed.
#pragma once

#include <cstdint>
#include <memory>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/routing/router.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cuda {

/// Where a routing is written: device memory, row-major, slots in the order of the choice. DevicePlanner::assign(),
/// CudaExecutor and FusedExecutor take both as they are.
struct DeviceChoices {
  std::int32_t* ids = nullptr;  ///< [tokens, top_k]
  float* weights = nullptr;     ///< [tokens, top_k]
};

/// core's route(), route_by() and route_backward() (switchyard/routing/router.hpp) on one device, bit for bit: a warp
/// per token runs the same functions of core/hd. Kernels only: no host synchronisation, no allocation, capturable in
/// global mode; the number of tokens may differ from call to call, 0 included, and is fixed in a captured graph.
///
/// Data at fault, where core throws, set a sticky word on the device, and check() raises core's error: the same one in
/// every run, of several faults the one that core would name. A token at fault gets ids -1 and weights 0, and gradients
/// of 0; others are not touched by it. Beyond core's checks, backward() finds ids that are no experts.
///
/// All memory is the current device's at construction. One object belongs to one thread, and to one stream at a time.
class Router {
 public:
  /// Logits are [tokens, num_experts]. @throws as validate(); Error{unsupported} when a row does not fit in shared
  /// memory: 2 x num_experts + 3 x top_k words, with a group limit also 2 x the larger of num_groups and
  /// scores_per_group (an H100 takes 28,000 experts with top-8); Error{out_of_memory}, Error{cuda}
  Router(RouterConfig const& config, int num_experts);
  ~Router();
  Router(Router&&) noexcept;
  Router& operator=(Router&&) noexcept;

  /// @param logits [tokens, experts] f32, bf16 or f16, contiguous, device memory
  /// @param bias   [experts] device memory, added to the scores for the choice only; null = none
  /// @throws Error{shape_mismatch} for other logits, Error{invalid_argument} for a bias with softmax_post, Error{cuda}
  /// @note O(tokens * experts * top_k / 32) at worst, each logit read once from memory
  void route(ConstTensorView const& logits, float const* bias, DeviceChoices const& out, StreamView stream);
  /// The choice is made by foreign values. @param selection [tokens, experts] device memory
  void route_by(ConstTensorView const& logits, float const* selection, DeviceChoices const& out, StreamView stream);
  /// @param ids       [tokens, top_k] of the forward call, distinct within a token
  /// @param d_weights [tokens, top_k] gradient at its weights
  /// @param d_logits  [tokens, experts] out, every element written
  void backward(ConstTensorView const& logits, std::int32_t const* ids, float const* d_weights, float* d_logits,
                StreamView stream);

  /// Waits for the stream and raises what kernels found since the object was made or forget_error().
  /// @throws Error{invalid_argument} with core's text, Error{cuda}
  void check(StreamView stream) const;
  /// The sticky word, all ones without a fault. Device memory.
  [[nodiscard]] unsigned long long const* error() const noexcept;
  /// Clears the sticky word, for the calls issued from now on. @throws Error{cuda}
  void forget_error(StreamView stream);

  [[nodiscard]] RouterConfig const& config() const noexcept;
  [[nodiscard]] int num_experts() const noexcept;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
