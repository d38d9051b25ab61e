# SPDX-License-Identifier: Apache-2.0
# All 2^32 floats (SWITCHYARD_EXHAUSTIVE=1) take longer than the usual limit.
switchyard_add_test(quantization_test LABEL unit TIMEOUT 3600 SOURCES unit/quantization_test.cpp unit/quantization_plain_test.cpp unit/weight_quantization_test.cpp LIBS switchyard::backend_cpu FULLY_OPTIMISED)

# The capacity calculator.
switchyard_add_test(experts_memory_test LABEL unit SOURCES unit/experts_memory_test.cpp LIBS switchyard::backend_cpu)
if(TARGET switchyard_cli)
  switchyard_add_test(tools_memory_test LABEL unit SOURCES unit/tools_memory_test.cpp LIBS switchyard::core)
  target_compile_definitions(tools_memory_test PRIVATE SWITCHYARD_CLI_PATH="$<TARGET_FILE:switchyard_cli>")
  add_dependencies(tools_memory_test switchyard_cli)
endif()
