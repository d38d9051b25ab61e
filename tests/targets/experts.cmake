# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(experts_activation_test LABEL unit SOURCES unit/experts_activation_test.cpp LIBS switchyard::core FULLY_OPTIMISED)
switchyard_add_test(experts_engine_test LABEL property SOURCES property/experts_engine_test.cpp LIBS switchyard::backend_cpu FULLY_OPTIMISED)
switchyard_add_test(experts_backward_test LABEL property SOURCES property/experts_backward_test.cpp LIBS switchyard::backend_cpu FULLY_OPTIMISED)
switchyard_add_test(experts_quantized_test LABEL property SOURCES property/experts_quantized_test.cpp LIBS switchyard::backend_cpu FULLY_OPTIMISED)
switchyard_add_test(experts_layer_test LABEL property SOURCES property/experts_layer_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(experts_formats_test LABEL unit SOURCES unit/experts_formats_test.cpp LIBS switchyard::core)

# The quantisers promise plain multiplications; fused operations belong to the chains of expert_kernels only.
find_program(SWITCHYARD_OBJDUMP objdump)
if(SWITCHYARD_OBJDUMP)
  add_test(NAME quantization_no_fma_host COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/style/no_fma.sh host
    $<FILTER:$<TARGET_OBJECTS:switchyard_backend_cpu>,INCLUDE,quantize_kernels> COMMAND_EXPAND_LISTS)
  set_tests_properties(quantization_no_fma_host PROPERTIES LABELS style)
endif()

# `switchyard layer` as a user runs it.
if(TARGET switchyard_cli)
  switchyard_add_test(tools_layer_test LABEL unit SOURCES unit/tools_layer_test.cpp LIBS switchyard_tools)
  target_compile_definitions(tools_layer_test PRIVATE SWITCHYARD_CLI_PATH="$<TARGET_FILE:switchyard_cli>")
  add_dependencies(tools_layer_test switchyard_cli)
endif()
switchyard_add_test(experts_table_test LABEL unit SOURCES unit/experts_table_test.cpp LIBS switchyard::backend_cpu)
target_compile_definitions(experts_table_test PRIVATE SWITCHYARD_COMPATIBILITY_DOC="${PROJECT_SOURCE_DIR}/docs/compatibility.md")
# MegaBlocks.
switchyard_add_test(megablocks_layer_loss_test LABEL unit SOURCES unit/megablocks_layer_loss_test.cpp LIBS switchyard::core)
switchyard_add_test(megablocks_layer_property LABEL property SOURCES property/megablocks_layer_property_test.cpp property/megablocks_layer_calls_test.cpp property/megablocks_layer_router_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(megablocks_layer_golden LABEL golden SOURCES golden/megablocks_layer_golden_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(experts_model_shapes_test LABEL property SOURCES property/experts_model_shapes_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(experts_layer_grid_test LABEL cross_backend SOURCES cross_backend/experts_layer_grid_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(experts_combine_halves_test LABEL unit SOURCES unit/experts_combine_halves_test.cpp LIBS switchyard::backend_cpu)
