// SPDX-License-Identifier: Apache-2.0
/// The communicator conformance suite over the control channel that NcclCommunicator uses: ranks are threads with TCP
/// connections of their own, data moves through shared memory.
#include "conformance/communicator_conformance.hpp"
#include "support/rank_harness_control.hpp"

namespace switchyard::test {

TEST_CASE("the control channel conforms at every check level") {
  ControlHarness harness;
  for (int ranks : {1, 2, 3})
    for (CheckLevel check : {CheckLevel::digest, CheckLevel::full, CheckLevel::off})
      check_communicator(harness, ranks, check);
}

}  // namespace switchyard::test
