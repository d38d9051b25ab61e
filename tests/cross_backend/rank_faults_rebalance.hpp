// SPDX-License-Identifier: Apache-2.0
/// rebalance_forever(): a rank whose expert rows move to and fro. A source of its own, so that programs without it need
/// no rebalance.
#pragma once

#include <functional>

#include "switchyard/cuda/nccl_communicator.hpp"

namespace cross_backend {

/// @param strike called with the number of the rebalance when its first round is under way
[[noreturn]] void rebalance_forever(switchyard::cuda::NcclCommunicator& comm, std::function<void(int)> const& strike);

}  // namespace cross_backend
