// SPDX-License-Identifier: Apache-2.0
/// abort_on_failure(): a rank of a rebalance that fails lets the others know.
#pragma once

#include <fmt/format.h>

#include <exception>

#include "switchyard/comm/communicator.hpp"

namespace switchyard::cpu {

/// @return what `body` returns. @throws what it throws, after the group was aborted with the text.
template <typename Body>
decltype(auto) abort_on_failure(Communicator& comm, Body const& body) {
  try {
    return body();
  } catch (std::exception const& error) {
    comm.abort(fmt::format("rebalance: {}", error.what()));
    throw;
  } catch (...) {
    comm.abort("rebalance: unknown exception");
    throw;
  }
}

}  // namespace switchyard::cpu
