// SPDX-License-Identifier: Apache-2.0
/// RouterLosses: the router's auxiliary losses, their gradients and the update of the selection bias on the device,
/// with the CPU's bits. No CUDA header needed.
#pragma once

#include <cstdint>
#include <memory>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/routing/losses.hpp"
#include "switchyard/types/score_function.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cuda {

/// core's functions of the same names (switchyard/routing/losses.hpp, bias_update.hpp) on one device; shapes are
/// theirs. Kernels only: no host synchronisation, no allocation, capturable in global mode; numbers of tokens may
/// differ from call to call and are fixed in a captured graph. Float sums are lane32 as on the CPU, counts are 64-bit
/// integers.
///
/// Pointers are device memory. Logits are [tokens, num_experts] f32, bf16 or f16, contiguous. Masks are [tokens] of 0
/// and 1, or null. Data at fault, where core throws, set a sticky word, and check() raises core's error (for a negative
/// count a text without its value); what depends on them is 0. One object belongs to one stream at a time.
class RouterLosses {
 public:
  /// @param max_tokens, max_sequences  of any call; memory: 4 bytes per token, 12 per sequence and expert
  /// @throws Error{invalid_argument} for sizes, Error{unsupported} when two rows of experts do not fit in shared
  /// memory, Error{out_of_memory}, Error{cuda}
  RouterLosses(ScoreFunction function, int num_experts, std::int64_t max_tokens, std::int64_t max_sequences = 1);
  ~RouterLosses();
  RouterLosses(RouterLosses&&) noexcept;
  RouterLosses& operator=(RouterLosses&&) noexcept;

  /// loss_scores(). @param scores [tokens, experts] out
  void scores(ConstTensorView const& logits, float* scores, StreamView stream);
  /// tokens_per_expert(). @param ids [tokens, top_k], -1 counts for nothing; @param counts [experts] out
  void count(std::int32_t const* ids, std::int64_t tokens, int top_k, std::int64_t* counts, StreamView stream);
  /// balance_loss(). @param scores [tokens, experts]; @param counts [experts]; @param result one float, out
  void balance(BalanceLoss const& loss, float const* scores, std::int64_t tokens, std::int64_t const* counts,
               std::uint8_t const* mask, float* result, StreamView stream);
  /// balance_loss_backward(). @param d_logits [tokens, experts] out
  void balance_backward(BalanceLoss const& loss, ConstTensorView const& logits, std::int64_t const* counts,
                        float loss_scale, std::uint8_t const* mask, float* d_logits, StreamView stream);
  /// sequence_balance_loss(). @param ids [tokens, top_k] of all the shape's tokens
  void sequence_balance(double coefficient, int top_k, SequenceShape shape, float const* scores,
                        std::int32_t const* ids, float* result, StreamView stream);
  /// sequence_balance_loss_backward().
  void sequence_balance_backward(double coefficient, int top_k, SequenceShape shape, ConstTensorView const& logits,
                                 std::int32_t const* ids, float loss_scale, float* d_logits, StreamView stream);
  /// z_loss(). @param result one float, out
  void z(double coefficient, ConstTensorView const& logits, std::uint8_t const* mask, float* result, StreamView stream);
  /// z_loss_backward(). @param d_logits [tokens, experts] out
  void z_backward(double coefficient, ConstTensorView const& logits, float loss_scale, std::uint8_t const* mask,
                  float* d_logits, StreamView stream);
  /// update_selection_bias(). @param bias [experts], untouched by counts or biases at fault; @param counts [experts]
  void update_selection_bias(float* bias, std::int64_t const* counts, float rate, StreamView stream);

  /// Waits for the stream and raises what kernels found since the object was made or forget_error().
  /// @throws Error{invalid_argument}, Error{cuda}
  void check(StreamView stream) const;
  /// Clears the sticky word, for the calls issued from now on. @throws Error{cuda}
  void forget_error(StreamView stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
