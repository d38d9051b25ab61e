// SPDX-License-Identifier: Apache-2.0
/// Makers of the policies that search: what make_policy() lists.
#pragma once

#include <memory>
#include <string_view>

#include "switchyard/placement/policy.hpp"

namespace switchyard::placement {

std::unique_ptr<PlacementPolicy const> make_balanced(std::string_view name);
std::unique_ptr<PlacementPolicy const> make_incremental(std::string_view name);

}  // namespace switchyard::placement
