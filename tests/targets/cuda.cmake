# SPDX-License-Identifier: Apache-2.0
# The CUDA backend: what needs no GPU runs everywhere; what needs one is built wherever the toolkit is and run where a GPU
# is (exit 77 = skipped).
if(SWITCHYARD_HAVE_CUDA)
  # switchyard_add_gpu_program(<name> SOURCES <files> LIBS <targets>)
  function(switchyard_add_gpu_program name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE ${ARG_LIBS})
    target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    switchyard_target_defaults(${name})
    switchyard_use_internals(${name})
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS cross_backend SKIP_RETURN_CODE 77)
  endfunction()

  switchyard_add_gpu_program(switchyard_cuda_executor SOURCES cross_backend/cuda_executor_test.cpp
    LIBS switchyard::backend_cuda switchyard::backend_cpu)
endif()
