# SPDX-License-Identifier: Apache-2.0
# The commands around GPUs, as far as they can be tested without one.
if(NOT TARGET switchyard_cli)
  return()
endif()
switchyard_add_test(tools_gpu_test LABEL unit SOURCES unit/tools_bench_test.cpp unit/tools_doctor_test.cpp
  LIBS switchyard_tools)
target_compile_definitions(tools_gpu_test PRIVATE SWITCHYARD_CLI_PATH="$<TARGET_FILE:switchyard_cli>")
add_dependencies(tools_gpu_test switchyard_cli)
