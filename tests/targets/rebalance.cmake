# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(rebalance_plan_property_test LABEL property SOURCES property/rebalance_plan_property_test.cpp
  property/rebalance_uneven_scaling_test.cpp
  LIBS switchyard::core)
switchyard_link_rapidcheck(rebalance_plan_property_test)
switchyard_add_test(rebalance_mutation_test LABEL property SOURCES property/rebalance_mutation_test.cpp
  LIBS switchyard::core)
switchyard_link_rapidcheck(rebalance_mutation_test)

# The comparison with the recorded vectors is the one that the CLI's command `vectors` runs.
switchyard_add_test(rebalance_eplb_exec_test LABEL golden SOURCES golden/rebalance_eplb_exec_test.cpp
  LIBS switchyard_eplb_vectors)
switchyard_add_test(rebalance_test LABEL unit SOURCES unit/rebalance_plan_test.cpp unit/rebalance_json_test.cpp
  unit/rebalance_vectors_test.cpp LIBS switchyard_eplb_vectors)
switchyard_link_rapidcheck(rebalance_test)
