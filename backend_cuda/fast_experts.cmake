# SPDX-License-Identifier: Apache-2.0
# switchyard::cuda_fast: the fast expert engine. A library of its own, so that only programs that use it need cuBLAS.
if(NOT TARGET CUDA::cublasLt)
  message(STATUS "cuBLAS was not found: building without the fast expert engine")
  return()
endif()
switchyard_add_library(cuda_fast)
target_link_libraries(switchyard_cuda_fast PUBLIC switchyard::backend_cuda
  PRIVATE CUDA::cublasLt CUDA::cudart_static)
target_include_directories(switchyard_cuda_fast PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/src)
target_sources(switchyard_cuda_fast PUBLIC FILE_SET HEADERS BASE_DIRS include
  FILES include/switchyard/cuda/fast_experts.hpp)
target_sources(switchyard_cuda_fast PRIVATE
  src/expert_matmul.cpp src/fast_experts.cpp src/fast_layers.cpp src/fast_operands.cpp src/lt_matmul.cpp
  kernels/fast_blocks.cu kernels/fast_steps.cu)
