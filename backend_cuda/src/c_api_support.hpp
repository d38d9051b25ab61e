// SPDX-License-Identifier: Apache-2.0
/// What stands between the C interface and the library: handles, sized structs, and exceptions that become codes.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <variant>

#include "switchyard/dispatch/dispatch_plan.hpp"
#include "switchyard/placement/expert_placement.hpp"
#include "switchyard/rebalance/rebalance_plan.hpp"
#include "switchyard/rebalance/rebalance_schedule.hpp"
#include "switchyard/switchyard.h"
#include "switchyard/types/error.hpp"

struct switchyard_placement {
  switchyard::ExpertPlacement value;
};
struct switchyard_plan {
  switchyard::DispatchPlan value;
  std::shared_ptr<void> on_device{};  ///< cuda::DevicePlan, made by the first dispatch or combine
};
struct switchyard_migration {
  std::variant<switchyard::RebalancePlan, switchyard::RebalanceSchedule> value;
};

namespace switchyard::c_api {

/// Remembers the text for switchyard_last_error(). Allocates nothing.
switchyard_status fail(switchyard_status status, char const* text) noexcept;
[[nodiscard]] inline switchyard_status status_of(ErrorCode code) noexcept {
  return static_cast<switchyard_status>(static_cast<int>(code) + 1);
}

/// Runs `body`; whatever it throws becomes a status.
template <typename Body>
switchyard_status guarded(Body const& body) noexcept {
  try {
    body();
    return SWITCHYARD_OK;
  } catch (Error const& error) {
    return fail(status_of(error.code()), error.what());
  } catch (std::bad_alloc const&) {
    return fail(SWITCHYARD_OUT_OF_MEMORY, "out_of_memory: the host has no memory left for this call");
  } catch (std::exception const& error) {
    return fail(SWITCHYARD_INTERNAL, error.what());
  } catch (...) {
    return fail(SWITCHYARD_INTERNAL, "internal: an exception of unknown type");
  }
}

/// @throws Error{invalid_argument} naming the argument if it is null.
void require_pointer(void const* pointer, char const* name);
/// @throws Error{invalid_argument} unless `given` covers `known`, or when what lies behind is not zero.
void require_size(void const* data, std::size_t given, std::size_t known, char const* name);

/// A struct of this header's size, from one of the same or a newer header.
template <typename Struct>
[[nodiscard]] Struct sized(Struct const* given, char const* name) {
  require_pointer(given, name);
  require_size(given, given->struct_size, sizeof(Struct), name);
  return *given;
}

}  // namespace switchyard::c_api
