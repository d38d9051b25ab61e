# SPDX-License-Identifier: Apache-2.0
foreach(topic basics digest convert elementary float_env steps)
  switchyard_add_test(types_${topic}_test LABEL unit SOURCES unit/types_${topic}_test.cpp LIBS switchyard::core FULLY_OPTIMISED)
endforeach()

# The toolkit's headers are enough: nvcc and a GPU are not needed for this one.
if(NOT CUDAToolkit_FOUND)
  find_package(CUDAToolkit QUIET)
endif()
find_path(SWITCHYARD_CUDA_FP8_DIR cuda_fp8.h HINTS ${CUDAToolkit_INCLUDE_DIRS} /usr/local/cuda/include)
if(SWITCHYARD_CUDA_FP8_DIR)
  switchyard_add_test(types_cuda_headers_test LABEL unit SOURCES unit/types_cuda_headers_test.cpp LIBS switchyard::core)
  target_include_directories(types_cuda_headers_test SYSTEM PRIVATE ${SWITCHYARD_CUDA_FP8_DIR})
else()
  message(STATUS "types_cuda_headers_test: not built, the CUDA headers were not found")
endif()

switchyard_add_test(types_property_test LABEL property SOURCES property/types_property_test.cpp LIBS switchyard::core FULLY_OPTIMISED)
switchyard_link_rapidcheck(types_property_test)

# Misuse that the compiler must refuse.
foreach(misuse ids_do_not_mix const_views_stay_const units_do_not_mix)
  add_test(NAME types_compile_fail_${misuse} COMMAND ${CMAKE_COMMAND} -DCOMPILER=${CMAKE_CXX_COMPILER}
    -DSOURCE=${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/${misuse}.cpp -DINCLUDE=${PROJECT_SOURCE_DIR}/core/include -DCASES=4
    -P ${CMAKE_CURRENT_SOURCE_DIR}/compile_fail/run.cmake)
  set_tests_properties(types_compile_fail_${misuse} PROPERTIES LABELS compile_fail)
endforeach()

# No fused multiply-add where the contract says mul, then add: in the CPU's row loops and in the combine kernel.
find_program(SWITCHYARD_OBJDUMP objdump)
if(SWITCHYARD_OBJDUMP)
  add_test(NAME types_no_fma_host COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/style/no_fma.sh host
    $<FILTER:$<TARGET_OBJECTS:switchyard_backend_cpu>,INCLUDE,row_kernels> COMMAND_EXPAND_LISTS)
  set_tests_properties(types_no_fma_host PROPERTIES LABELS style)
else()
  message(STATUS "types_no_fma_host: not run, objdump was not found")
endif()
find_program(SWITCHYARD_NVCC nvcc HINTS /usr/local/cuda/bin)
if(SWITCHYARD_NVCC)
  add_test(NAME types_no_fma_kernel COMMAND sh ${CMAKE_CURRENT_SOURCE_DIR}/style/no_fma.sh kernel ${SWITCHYARD_NVCC}
    ${PROJECT_SOURCE_DIR}/backend_cuda/kernels/combine_rows.cu -arch=sm_90 -I${PROJECT_SOURCE_DIR}/core/include
    -I${PROJECT_SOURCE_DIR}/core/hd -I${PROJECT_SOURCE_DIR}/backend_cuda/include -I${PROJECT_SOURCE_DIR}/backend_cuda/src)
  set_tests_properties(types_no_fma_kernel PROPERTIES LABELS style)
else()
  message(STATUS "types_no_fma_kernel: not run, nvcc was not found")
endif()

# CPU against GPU, bit for bit. Built wherever the toolkit is; run where a GPU is (exit 77 = skipped).
if(SWITCHYARD_HAVE_CUDA)
  add_executable(switchyard_cuda_bits
    cross_backend/cuda_bits_test.cpp cross_backend/cuda_convert_checks.cpp cross_backend/cuda_digest_checks.cpp
    cross_backend/cuda_function_checks.cpp cross_backend/cuda_row_checks.cpp cross_backend/function_probe.cu
    cross_backend/cuda_capture_checks.cpp)
  target_link_libraries(switchyard_cuda_bits PRIVATE switchyard::backend_cuda)
  target_include_directories(switchyard_cuda_bits PRIVATE ${PROJECT_SOURCE_DIR}/core/hd
                                                          ${PROJECT_SOURCE_DIR}/backend_cuda/src)
  target_include_directories(switchyard_cuda_bits SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
  switchyard_target_defaults(switchyard_cuda_bits)
  add_test(NAME switchyard_cuda_bits COMMAND switchyard_cuda_bits)
  set_tests_properties(switchyard_cuda_bits PROPERTIES LABELS cross_backend SKIP_RETURN_CODE 77)
endif()
