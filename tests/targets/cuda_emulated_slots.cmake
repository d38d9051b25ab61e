# SPDX-License-Identifier: Apache-2.0
# Programs for one GPU on the host: kernels of plans, slots and rows, a fiber per thread, over a runtime whose device
# memory is host memory. Needs the toolkit's headers, no GPU.
set(emulated ${CMAKE_CURRENT_BINARY_DIR}/emulated)
set(kernels ${PROJECT_SOURCE_DIR}/backend_cuda/kernels)
set(script ${CMAKE_CURRENT_SOURCE_DIR}/support/emulated_kernel.cmake)
foreach(kernel budget_gradients budget_join budget_land budget_plan budget_send convert digest exact_sums gather_rows
    plan_bins plan_block plan_capacity plan_count plan_digest plan_place plan_slots row_arithmetic scatter_rows sum_rows)
  set(output ${emulated}/${kernel}.cpp)
  add_custom_command(OUTPUT ${output} VERBATIM
    COMMAND ${CMAKE_COMMAND} -DKERNEL=${kernels}/${kernel}.cu -DOUTPUT=${output} -P ${script}
    DEPENDS ${kernels}/${kernel}.cu ${script})
  list(APPEND emulated_sources ${output})
endforeach()

add_library(emulated_cuda OBJECT ${emulated_sources} support/emulated_device.cpp support/emulated_runtime.cpp)
switchyard_target_defaults(emulated_cuda)
switchyard_use_internals(emulated_cuda)
target_compile_options(emulated_cuda PRIVATE $<$<CONFIG:Release>:-O1>)
target_link_libraries(emulated_cuda PRIVATE switchyard::core switchyard::backend_cpu)
target_include_directories(emulated_cuda PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/backend_cuda/include
  ${PROJECT_SOURCE_DIR}/backend_cuda/src)
target_include_directories(emulated_cuda SYSTEM PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/support/emulated_cub ${kernels}
  ${CUDAToolkit_INCLUDE_DIRS})
# Kernels are checked by nvcc with the project's warnings; here they are another language.
set_source_files_properties(${emulated_sources} PROPERTIES COMPILE_OPTIONS -w)

# Objects come first, then the rest of a runtime of host memory: the library's own kernels and the CUDA runtime, of which
# some come along, are not called.
add_library(fake_cuda_runtime STATIC support/fake_cuda_runtime.cpp)
switchyard_target_defaults(fake_cuda_runtime)
target_include_directories(fake_cuda_runtime SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
foreach(program budget bins)
  switchyard_add_gpu_program(cuda_emulated_${program}_test
    SOURCES cross_backend/cuda_${program}_test.cpp $<TARGET_OBJECTS:emulated_cuda>
    LIBS fake_cuda_runtime switchyard::backend_cuda switchyard::backend_cpu fake_cuda_runtime)
  target_link_options(cuda_emulated_${program}_test PRIVATE -Wl,--allow-multiple-definition)
  switchyard_use_cuda_headers(cuda_emulated_${program}_test)
  set_tests_properties(cuda_emulated_${program}_test PROPERTIES LABELS property ENVIRONMENT SWITCHYARD_CASES=1)
endforeach()
