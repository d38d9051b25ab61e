# SPDX-License-Identifier: Apache-2.0
# Schedulers, rank groups, the in-process communicator, and the execution of rebalance plans on them.
switchyard_add_test(runtime_conformance_test LABEL conformance TIMEOUT 900
  SOURCES conformance/runtime_conformance_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(runtime_scheduler_test LABEL unit
  SOURCES unit/runtime_scheduler_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(runtime_faults_test LABEL unit
  SOURCES unit/runtime_faults_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(runtime_sweep_test LABEL property TIMEOUT 900
  SOURCES property/runtime_sweep_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(rebalance_exec_weights_test LABEL unit
  SOURCES unit/rebalance_exec_weights_test.cpp LIBS switchyard::core)
switchyard_add_test(rebalance_exec_test LABEL unit
  SOURCES unit/rebalance_exec_test.cpp unit/rebalance_stepwise_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(rebalance_exec_property_test LABEL property
  SOURCES property/rebalance_exec_property_test.cpp LIBS switchyard::backend_cpu)
foreach(test runtime_faults_test rebalance_exec_test rebalance_exec_property_test)
  target_include_directories(${test} PRIVATE ${PROJECT_SOURCE_DIR}/backend_cpu/internal)
endforeach()
