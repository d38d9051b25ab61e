// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/peer_memory.hpp"

namespace switchyard::cpu {

PeerMemory* peer_memory(Communicator& comm) noexcept {
  auto* const memory = dynamic_cast<PeerMemory*>(&comm);
  return memory != nullptr && memory->allows_reads() ? memory : nullptr;
}

}  // namespace switchyard::cpu
