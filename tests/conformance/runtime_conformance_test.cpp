// SPDX-License-Identifier: Apache-2.0
/// The communicator conformance suite on the CPU backend: threads and fibers, 1, 2, 3, 7 and 8 ranks.
#include "conformance/communicator_conformance.hpp"
#include "support/rank_harness_cpu.hpp"

namespace switchyard::test {

TEST_CASE("InProcessCommunicator conforms at every check level") {
  for (auto const& harness : all_cpu_harnesses())
    for (int ranks : {1, 2, 3, 7, 8})
      for (CheckLevel check : {CheckLevel::digest, CheckLevel::full, CheckLevel::off})
        check_communicator(*harness, ranks, check);
}

}  // namespace switchyard::test
