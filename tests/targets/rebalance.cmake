# SPDX-License-Identifier: Apache-2.0
set(_vectors ${PROJECT_SOURCE_DIR}/tools/src/vectors)
switchyard_add_test(rebalance_eplb_exec_test LABEL golden SOURCES golden/rebalance_eplb_exec_test.cpp ${_vectors}/eplb.cpp
  LIBS switchyard::core)
target_include_directories(rebalance_eplb_exec_test PRIVATE ${PROJECT_SOURCE_DIR}/tools/src)
