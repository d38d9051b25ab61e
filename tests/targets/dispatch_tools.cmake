# SPDX-License-Identifier: Apache-2.0
# What surrounds the planners: capacity rules, receive budgets, shared experts, recordings of other dispatchers.
switchyard_add_test(dispatch_capacity_test LABEL unit
  SOURCES unit/capacity_rules_test.cpp unit/budget_test.cpp unit/shared_expert_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_test(recording_test LABEL unit SOURCES unit/recording_test.cpp unit/recording_families_test.cpp
  LIBS switchyard::core)
switchyard_add_test(recording_golden_test LABEL golden SOURCES golden/recording_test.cpp LIBS switchyard::core)

# The commands around dispatch plans, as a user runs them.
if(TARGET switchyard_cli)
  switchyard_add_test(tools_inspect_test LABEL unit SOURCES unit/tools_inspect_test.cpp LIBS switchyard::core)
  target_compile_definitions(tools_inspect_test PRIVATE SWITCHYARD_CLI_PATH="$<TARGET_FILE:switchyard_cli>")
  add_dependencies(tools_inspect_test switchyard_cli)
endif()

# The recorders, with fakes in place of the frameworks; the program judges what they write.
find_package(Python3 COMPONENTS Interpreter QUIET)
if(Python3_Interpreter_FOUND AND TARGET switchyard_cli)
  add_test(NAME recording_recorders_test COMMAND ${Python3_EXECUTABLE} -B
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/recording_recorders_test.py ${PROJECT_SOURCE_DIR}/tools/recorders
    $<TARGET_FILE:switchyard_cli>)
  set_tests_properties(recording_recorders_test PROPERTIES LABELS unit)
else()
  message(STATUS "recording_recorders_test: not run, python3 or the CLI is missing")
endif()
