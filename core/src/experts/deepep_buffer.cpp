// SPDX-License-Identifier: Apache-2.0
#include "switchyard/experts/deepep_buffer.hpp"

#include <algorithm>
#include <limits>

#include "switchyard/internal/require.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard {
namespace {

constexpr std::int64_t kAlignment = 128;
constexpr std::int64_t kScaleColumns = 128;
constexpr std::int64_t kWordBytes = 16;

}  // namespace

DeepEpLowLatencyBuffer deepep_low_latency_buffer(std::int64_t tokens, std::int64_t hidden, int experts) {
  SWITCHYARD_REQUIRE(tokens >= 0 && experts >= 0, invalid_argument,
                     "a low-latency buffer for {} tokens and {} experts: neither may be negative", tokens, experts);
  SWITCHYARD_REQUIRE(hidden > 0 && hidden % kScaleColumns == 0, invalid_argument,
                     "DeepEP's low-latency kernels take hidden sizes that are multiples of {}, not {}", kScaleColumns,
                     hidden);
  std::int64_t const values = checked_mul(hidden, 2);
  std::int64_t const scales = hidden / kScaleColumns * 4;
  DeepEpLowLatencyBuffer buffer;
  buffer.dispatch_message_bytes = checked_add(kWordBytes, std::max(values, hidden + scales));
  buffer.combine_message_bytes = checked_add(values, scales);
  std::int64_t const messages = checked_mul(experts, tokens);
  std::int64_t const combine = checked_mul(messages, buffer.combine_message_bytes);
  buffer.send_bytes = std::max(checked_mul(tokens, buffer.dispatch_message_bytes), combine);
  buffer.receive_bytes = std::max(checked_mul(messages, buffer.dispatch_message_bytes), combine);
  buffer.signal_bytes = (std::int64_t{4} * experts + kAlignment - 1) / kAlignment * kAlignment;
  buffer.layout_bytes =
      checked_mul(2, checked_add(checked_add(buffer.send_bytes, buffer.receive_bytes), buffer.signal_bytes));
  buffer.allocated_bytes = checked_add(buffer.layout_bytes, kAlignment) / kAlignment * kAlignment;
  buffer.too_large = buffer.allocated_bytes / kWordBytes >= std::numeric_limits<std::int32_t>::max();
  return buffer;
}

}  // namespace switchyard
