# SPDX-License-Identifier: Apache-2.0
if(NOT TARGET switchyard_cli)
  return()
endif()
switchyard_add_test(tools_options_test LABEL unit SOURCES unit/tools_options_test.cpp LIBS switchyard_tools)
target_compile_definitions(tools_options_test PRIVATE SWITCHYARD_CLI_DOC="${PROJECT_SOURCE_DIR}/docs/cli.md")

# The built program as a user runs it. The demo has a program of its own, because it takes seconds.
switchyard_add_test(tools_cli_test LABEL unit
  SOURCES unit/tools_plan_test.cpp unit/tools_vectors_test.cpp unit/tools_verify_test.cpp LIBS switchyard::core)
switchyard_add_test(tools_operator_test LABEL unit SOURCES unit/tools_operator_test.cpp LIBS switchyard::core)
switchyard_add_test(tools_demo_test LABEL unit SOURCES unit/tools_demo_test.cpp LIBS switchyard::core)
foreach(test tools_cli_test tools_operator_test tools_demo_test)
  target_compile_definitions(${test} PRIVATE SWITCHYARD_CLI_PATH="$<TARGET_FILE:switchyard_cli>")
  add_dependencies(${test} switchyard_cli)
endforeach()

# The report in a browser. Exit code 77: no Chromium here, and the output says so.
find_package(Python3 COMPONENTS Interpreter QUIET)
if(Python3_Interpreter_FOUND)
  add_test(NAME tools_html_browser_test COMMAND ${Python3_EXECUTABLE} -B
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/tools_html_browser_test.py $<TARGET_FILE:switchyard_cli>)
  set_tests_properties(tools_html_browser_test PROPERTIES LABELS unit SKIP_RETURN_CODE 77 TIMEOUT 300)
endif()
