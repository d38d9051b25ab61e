# SPDX-License-Identifier: Apache-2.0
# The vectors' runners are compiled in, so that these tests need no other part of the tools.
set(vectors ${PROJECT_SOURCE_DIR}/tools/src/vectors)
switchyard_add_test(dispatch_alltoall_golden LABEL golden
  SOURCES golden/dispatch_alltoall_test.cpp ${vectors}/alltoall.cpp ${vectors}/dispatch_backend_cpu.cpp ${vectors}/dispatch_case.cpp
  LIBS switchyard::core switchyard::backend_cpu)
target_include_directories(dispatch_alltoall_golden PRIVATE ${PROJECT_SOURCE_DIR}/tools/src)
switchyard_add_test(dispatch_families_golden LABEL golden
  SOURCES golden/dispatch_families_test.cpp ${vectors}/allgather.cpp ${vectors}/dispatch_backend_cpu.cpp ${vectors}/dispatch_case.cpp
    ${vectors}/flex.cpp ${vectors}/megablocks.cpp
  LIBS switchyard::core switchyard::backend_cpu)
target_include_directories(dispatch_families_golden PRIVATE ${PROJECT_SOURCE_DIR}/tools/src)
switchyard_add_test(dispatch_oracle LABEL property SOURCES property/dispatch_oracle_test.cpp LIBS switchyard::core)
switchyard_add_test(routing_map_test LABEL unit SOURCES unit/routing_map_test.cpp LIBS switchyard::core)
switchyard_add_test(dispatch_plan_test LABEL unit SOURCES unit/dispatch_plan_test.cpp LIBS switchyard::core)
switchyard_add_test(dispatch_executor LABEL property SOURCES property/dispatch_executor_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_test(dispatch_executor_errors LABEL unit SOURCES unit/dispatch_executor_errors_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_test(dispatch_families LABEL property SOURCES property/dispatch_families_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_test(dispatch_families_test LABEL unit
  SOURCES unit/dispatch_families_test.cpp unit/dispatch_families_validation_test.cpp LIBS switchyard::core)
switchyard_add_test(dispatch_edge_cases LABEL property SOURCES property/dispatch_edge_cases_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
# The long time-out is for SWITCHYARD_EXHAUSTIVE=1.
switchyard_add_test(dispatch_exhaustive LABEL property TIMEOUT 14400 SOURCES property/dispatch_exhaustive_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
