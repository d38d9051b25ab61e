// SPDX-License-Identifier: Apache-2.0
/// make_prepare_finalize(): every way in which the CPU backend moves rows between tokens and experts.
#pragma once

#include <memory>

#include "switchyard/comm/communicator.hpp"
#include "switchyard/experts/prepare_options.hpp"
#include "switchyard/placement/expert_placement.hpp"

namespace switchyard::cpu {

using switchyard::kAllPrepareKinds;
using switchyard::parse_prepare_kind;
using switchyard::prepare_traits;
using switchyard::PrepareKind;
using switchyard::PrepareOptions;
using switchyard::to_string;

/// @param comm outlives the result; its ranks are options.grid's. Only a kind without communication leaves it idle.
/// @param placement outlives the result; its ranks are the EP ranks, or for no_communication those whose experts the
/// communicator's rank may pick.
/// @throws Error{invalid_argument} for sizes, a quantisation that its moment or scheme does not allow, a batched format
/// without a maximum; Error{unsupported} for a recipe or a TP size that the kind does not have.
[[nodiscard]] std::unique_ptr<PrepareFinalize> make_prepare_finalize(PrepareKind kind, Communicator& comm,
                                                                     ExpertPlacement const& placement,
                                                                     PrepareOptions const& options);

}  // namespace switchyard::cpu
