// SPDX-License-Identifier: Apache-2.0
/// compare_postings: do all ranks mean the same call, and does what each sends fit what its peer expects?
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "posting.hpp"
#include "switchyard/types/error.hpp"

namespace switchyard::cpu {

/// Why a group failed; every rank throws the same.
struct GroupFailure {
  ErrorCode code;
  std::string text;
};

/// @param postings one per rank. @return the first disagreement in a fixed order (call and text, sequence,
/// configuration against rank 0; then counts by sender and receiver), or nothing. O(ranks^2 + messages); pure.
[[nodiscard]] std::optional<GroupFailure> compare_postings(std::vector<Posting> const& postings);

/// @param postings one per rank. @return the first rank, if any, that publishes another number of bytes than `reader`
/// expects of it.
[[nodiscard]] std::optional<GroupFailure> compare_published(std::vector<Posting> const& postings, std::size_t reader);

}  // namespace switchyard::cpu
