// SPDX-License-Identifier: Apache-2.0
/// The size of DeepEP's low-latency buffer, part by part.
#pragma once

#include <cstdint>

namespace switchyard {

/// Bytes per rank. Send and receive areas and signals exist twice (odd and even calls).
struct DeepEpLowLatencyBuffer {
  std::int64_t dispatch_message_bytes = 0;  ///< 16 + max(2H, H + 4 (H/128)): room for bf16 or for fp8 with scales
  std::int64_t combine_message_bytes = 0;   ///< 2H + 4 (H/128)
  std::int64_t send_bytes = 0;              ///< max(T * dispatch message, E * T * combine message)
  std::int64_t receive_bytes = 0;           ///< E * T * the larger message
  std::int64_t signal_bytes = 0;            ///< 4 E, rounded up to 128
  std::int64_t layout_bytes = 0;            ///< twice the three above
  std::int64_t allocated_bytes = 0;         ///< what the size hint returns: the next multiple of 128 above layout_bytes
  bool too_large = false;                   ///< its kernels count 16-byte words in an int: 2^31 - 1 of them or more
};

/// @param tokens most tokens that a rank dispatches at once. @param experts physical ones of the whole group: redundant
/// experts cost as much as others.
/// @throws Error{invalid_argument} for negative sizes, hidden that is no positive multiple of 128, or sizes over 64
/// bits
/// @note pure. Source: DeepEP csrc/config.hpp (LowLatencyLayout, get_low_latency_rdma_size_hint); the limit is vLLM
/// issue 57894's. The number of ranks does not enter.
[[nodiscard]] DeepEpLowLatencyBuffer deepep_low_latency_buffer(std::int64_t tokens, std::int64_t hidden, int experts);

}  // namespace switchyard
