// SPDX-License-Identifier: Apache-2.0
/// ReplicaRule: which replica of an expert a token goes to, as a named choice.
#pragma once

#include <cstdint>

namespace switchyard {

/// Every rule is a function of what all ranks know, so every rank can predict every other rank's choice. c = number of
/// replicas, slots ascending; flat = token * top_k + k, for dense routings top_k is the number of experts.
enum class ReplicaRule : std::uint8_t {
  token_rank_layer,  ///< (token + source rank + layer) mod c
  first,             ///< always the lowest slot
  counter_based,     ///< ours: uniform by Philox of (seed, layer, source rank, token, k); unbiased
  vllm_flat,         ///< vLLM since #24573: flat mod c. Depends on k alone when c divides top_k
  vllm_token_hash,   ///< vLLM since #40810: (token * 2654435769 mod 2^32) mod c. The same on every rank and layer
  sglang_static,   ///< one slot per (source rank, expert): own rank's, else own node's lowest, else a fair seeded draw
  sglang_dynamic,  ///< 16 random bits mod c; the bits are Philox's where SGLang has its device's generator
  tensorrt_llm,    ///< round robin in blocks of 1,024 flat choices: (earlier ones of the expert + block + rank) mod c
  ascend_rank,     ///< source rank mod c
};

}  // namespace switchyard
