# SPDX-License-Identifier: Apache-2.0
# What surrounds the planners: capacity rules, receive budgets, shared experts, recordings of other dispatchers.
switchyard_add_test(dispatch_capacity_test LABEL unit
  SOURCES unit/capacity_rules_test.cpp unit/budget_test.cpp unit/shared_expert_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_test(recording_test LABEL unit SOURCES unit/recording_test.cpp LIBS switchyard::core)
switchyard_add_test(recording_golden_test LABEL golden SOURCES golden/recording_test.cpp LIBS switchyard::core)
