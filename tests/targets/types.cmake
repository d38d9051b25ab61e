# SPDX-License-Identifier: Apache-2.0
foreach(topic basics digest convert elementary float_env steps)
  switchyard_add_test(types_${topic}_test LABEL unit SOURCES unit/types_${topic}_test.cpp LIBS switchyard::core)
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
