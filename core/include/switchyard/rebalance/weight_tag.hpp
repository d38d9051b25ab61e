// SPDX-License-Identifier: Apache-2.0
/// Weight tags: test bytes that say which expert's tensor they belong to, so that a rehearsal can check every byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "switchyard/types/ids.hpp"

namespace switchyard {

/// The byte at `offset` of an expert's row of one tensor: a pure function of its arguments (counter-based, uniform).
/// Two experts, layers or tensors agree in a byte with probability 1/256, in a row of 24 bytes with 2^-192.
[[nodiscard]] std::byte weight_tag(int layer, ExpertId expert, int tensor, std::int64_t offset) noexcept;

/// Fills `row` with the tags of offsets 0, 1, ...
void fill_weight_tags(std::span<std::byte> row, int layer, ExpertId expert, int tensor) noexcept;

/// @return the first offset at which `row` is not what fill_weight_tags() writes, or nothing.
[[nodiscard]] std::optional<std::int64_t> first_wrong_tag(std::span<std::byte const> row, int layer, ExpertId expert,
                                                          int tensor) noexcept;

}  // namespace switchyard
