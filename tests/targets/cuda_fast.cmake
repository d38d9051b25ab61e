# SPDX-License-Identifier: Apache-2.0
# NVTX ranges, which need the toolkit's headers but no GPU; the fast expert engine against the exact one, built
# wherever the toolkit has cuBLAS.
if(SWITCHYARD_HAVE_CUDA)
  find_path(SWITCHYARD_NVTX_DIR nvtx3/nvToolsExt.h HINTS ${CUDAToolkit_INCLUDE_DIRS} /usr/local/cuda/include)
endif()
if(SWITCHYARD_HAVE_CUDA AND SWITCHYARD_NVTX_DIR)
  switchyard_add_test(cuda_nvtx_test LABEL unit
    SOURCES unit/cuda_nvtx_test.cpp ${PROJECT_SOURCE_DIR}/backend_cuda/src/nvtx_range.cpp LIBS ${CMAKE_DL_LIBS})
  target_include_directories(cuda_nvtx_test PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/src)
  switchyard_use_cuda_headers(cuda_nvtx_test)
endif()

if(NOT TARGET switchyard_cuda_fast)
  return()
endif()
switchyard_add_gpu_program(switchyard_cuda_fast_test SOURCES
  cross_backend/cuda_fast_test.cpp cross_backend/cuda_fast_gradients.cpp cross_backend/cuda_fast_codes.cpp cross_backend/cuda_fast_blocks.cpp
  LIBS switchyard::cuda_fast switchyard::backend_cpu)
target_include_directories(switchyard_cuda_fast_test PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/src)
switchyard_use_cuda_headers(switchyard_cuda_fast_test)

switchyard_add_test(cuda_lt_library_test LABEL unit SOURCES unit/cuda_lt_library_test.cpp LIBS switchyard::cuda_fast)
target_include_directories(cuda_lt_library_test PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/src)
switchyard_use_cuda_headers(cuda_lt_library_test)
