// SPDX-License-Identifier: Apache-2.0
/// The peers' policies besides DeepSeek's, one factory each. What each computes, and its ties, stand in its .cpp file
/// and in docs/placement.md.
#pragma once

#include <memory>
#include <string_view>

#include "switchyard/placement/policy.hpp"

namespace switchyard::placement {

using PolicyPointer = std::unique_ptr<PlacementPolicy const>;

[[nodiscard]] PolicyPointer make_vllm(std::string_view name);
[[nodiscard]] PolicyPointer make_sglang_vec(std::string_view name);
[[nodiscard]] PolicyPointer make_sglang_vec_hierarchical(std::string_view name);
[[nodiscard]] PolicyPointer make_sglang_elastic(std::string_view name);
[[nodiscard]] PolicyPointer make_tensorrt_llm(std::string_view name);
[[nodiscard]] PolicyPointer make_ascend_default(std::string_view name);
[[nodiscard]] PolicyPointer make_swift(std::string_view name);

}  // namespace switchyard::placement
