// SPDX-License-Identifier: Apache-2.0
// How the second interfaces of a communicator are found.
#include "switchyard/cpu/peer_memory.hpp"
#include "switchyard/cpu/split_calls.hpp"

namespace switchyard::cpu {

PeerMemory* peer_memory(Communicator& comm) noexcept {
  auto* const memory = dynamic_cast<PeerMemory*>(&comm);
  return memory != nullptr && memory->allows_reads() ? memory : nullptr;
}

SplitCalls* split_calls(Communicator& comm) noexcept {
  return dynamic_cast<SplitCalls*>(&comm);
}

}  // namespace switchyard::cpu
