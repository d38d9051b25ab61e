# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(timeline_test LABEL unit SOURCES unit/simulator_gemm_test.cpp unit/timeline_test.cpp LIBS switchyard::sim)
switchyard_add_test(timeline_laws_test LABEL property SOURCES property/timeline_laws_test.cpp LIBS switchyard::sim)
if(TARGET switchyard_cli)
  switchyard_add_test(tools_timeline_test LABEL unit SOURCES unit/tools_recorded_test.cpp unit/tools_timeline_test.cpp
                      LIBS switchyard::core)
  target_compile_definitions(tools_timeline_test PRIVATE SWITCHYARD_CLI_PATH="$<TARGET_FILE:switchyard_cli>")
  add_dependencies(tools_timeline_test switchyard_cli)
endif()
