# SPDX-License-Identifier: Apache-2.0
# Scheduled rebalances: rounds, proofs, reloads.
switchyard_add_test(schedule_property_test LABEL property SOURCES property/schedule_property_test.cpp
  LIBS switchyard::core)
switchyard_link_rapidcheck(schedule_property_test)
switchyard_add_test(schedule_test LABEL unit SOURCES unit/schedule_plan_test.cpp LIBS switchyard::core)
switchyard_link_rapidcheck(schedule_test)
switchyard_add_test(schedule_exec_test LABEL unit SOURCES unit/schedule_exec_test.cpp
  unit/schedule_exec_faults_test.cpp LIBS switchyard::backend_cpu)
target_include_directories(schedule_exec_test PRIVATE ${PROJECT_SOURCE_DIR}/backend_cpu/internal)
switchyard_add_test(rebalance_hazards_test LABEL unit SOURCES unit/rebalance_hazards_test.cpp
  LIBS switchyard::backend_cpu)
target_include_directories(rebalance_hazards_test PRIVATE ${PROJECT_SOURCE_DIR}/backend_cpu/internal)
