// SPDX-License-Identifier: Apache-2.0
/// Sinkhorn: balanced scores on the device, for Router::route_by(). No CUDA header needed.
#pragma once

#include <cstdint>
#include <memory>

#include "switchyard/cuda/stream.hpp"
#include "switchyard/routing/sinkhorn.hpp"
#include "switchyard/types/tensor_view.hpp"

namespace switchyard::cuda {

/// core's sinkhorn() on one device, bit for bit, iterations included. Kernels only: no host synchronisation, no
/// allocation, capturable in global mode. One block iterates, because every iteration needs the one before as a whole:
/// an iteration reads the matrix twice. One object belongs to one stream at a time.
class Sinkhorn {
 public:
  /// @param max_tokens of any call. @throws Error{invalid_argument} for options or sizes, Error{unsupported} when a row
  /// of experts does not fit in shared memory, Error{out_of_memory}, Error{cuda}
  Sinkhorn(SinkhornOptions const& options, int num_experts, std::int64_t max_tokens);
  ~Sinkhorn();
  Sinkhorn(Sinkhorn&&) noexcept;
  Sinkhorn& operator=(Sinkhorn&&) noexcept;

  /// @param logits [tokens, experts] f32, bf16 or f16, contiguous, device memory
  /// @param balanced [tokens, experts] out; zeros where core throws. @throws Error{shape_mismatch, invalid_argument,
  /// cuda}
  void balance(ConstTensorView const& logits, float* balanced, StreamView stream);
  /// Iterations of the last call. Device memory.
  [[nodiscard]] std::int32_t const* iterations() const noexcept;

  /// Waits for the stream and raises what core would have thrown since the object was made or forget_error(), and that
  /// the last call did not converge. @throws Error{invalid_argument} with core's text (but for the logit that
  /// overflows, whose value is not named), Error{cuda}
  void check(StreamView stream) const;
  /// Clears the sticky word, for the calls issued from now on. @throws Error{cuda}
  void forget_error(StreamView stream);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace switchyard::cuda
