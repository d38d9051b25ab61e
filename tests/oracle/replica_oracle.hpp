// SPDX-License-Identifier: Apache-2.0
/// Oracle of the deterministic replica rules, on flat lists as the peers' kernels see them. Written from their
/// descriptions; no code of the library.
///
/// Worked example, top-2, expert 5 with three replicas: token 4's choices are the flat ones 8 and 9, so vLLM's second
/// rule gives 8 mod 3 = 2 and 9 mod 3 = 0; its third looks at token 4 only: 4 * 2654435769 mod 2^32 = 2027808484, mod 3
/// = 1, for both.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace oracle {

/// @param ids flat [tokens * top_k] experts, -1 = dropped. @param copies [experts] replicas.
/// @return flat: the replica's index, -1 for a dropped choice.
inline std::vector<int> replica_indices(std::string const& rule, std::vector<int> const& ids, int top_k,
                                        std::vector<int> const& copies, int rank, int layer) {
  std::vector<int> out;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] < 0) {
      out.push_back(-1);
      continue;
    }
    auto const expert = static_cast<std::size_t>(ids[i]);
    std::uint64_t const c = static_cast<std::uint64_t>(copies[expert]);
    std::uint64_t const token = i / static_cast<std::size_t>(top_k);
    std::uint64_t pick = 0;
    if (rule == "token_rank_layer") pick = token + static_cast<std::uint64_t>(rank + layer);
    if (rule == "vllm_flat") pick = i;
    if (rule == "vllm_token_hash") pick = static_cast<std::uint32_t>(token * 2654435769ULL);
    if (rule == "ascend_rank") pick = static_cast<std::uint64_t>(rank);
    if (rule == "tensorrt_llm") {
      pick = i / 1024 + static_cast<std::uint64_t>(rank);
      for (std::size_t j = i / 1024 * 1024; j < i; ++j) pick += ids[j] == ids[i] ? 1U : 0U;
    }
    out.push_back(static_cast<int>(pick % c));
  }
  return out;
}

}  // namespace oracle
