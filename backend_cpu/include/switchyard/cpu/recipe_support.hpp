// SPDX-License-Identifier: Apache-2.0
/// The names by which this backend's users know core's recipe_support().
#pragma once

#include "switchyard/dispatch/recipe_support.hpp"

namespace switchyard::cpu {

using switchyard::recipe_support;
using switchyard::RecipeSupport;

}  // namespace switchyard::cpu
