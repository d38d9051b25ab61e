# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(dispatch_alltoall_golden LABEL golden SOURCES golden/dispatch_alltoall_test.cpp LIBS switchyard_vectors)
switchyard_add_test(dispatch_families_golden LABEL golden SOURCES golden/dispatch_families_test.cpp LIBS switchyard_vectors)
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
  LIBS switchyard::core switchyard::backend_cpu FULLY_OPTIMISED)
# The long time-out is for SWITCHYARD_EXHAUSTIVE=1.
switchyard_add_test(dispatch_exhaustive LABEL property TIMEOUT 14400 SOURCES property/dispatch_exhaustive_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
