# SPDX-License-Identifier: Apache-2.0
# switchyard::cuda_fast: the fast expert engine. cuBLAS's headers are needed here; its library is loaded when the engine
# is first made, so programs that link this start without it.
if(NOT TARGET CUDA::cublasLt)
  message(STATUS "cuBLAS was not found: building without the fast expert engine")
  return()
endif()
switchyard_add_library(cuda_fast)
target_link_libraries(switchyard_cuda_fast PUBLIC switchyard::backend_cuda
  PRIVATE CUDA::cudart_static ${CMAKE_DL_LIBS})
target_include_directories(switchyard_cuda_fast SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
target_include_directories(switchyard_cuda_fast PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/src)
target_sources(switchyard_cuda_fast PUBLIC FILE_SET HEADERS BASE_DIRS include
  FILES include/switchyard/cuda/fast_experts.hpp)
target_sources(switchyard_cuda_fast PRIVATE
  src/expert_matmul.cpp src/fast_experts.cpp src/fast_layers.cpp src/fast_operands.cpp
  src/lt_library.cpp src/lt_matmul.cpp
  kernels/fast_blocks.cu kernels/fast_steps.cu)
set_source_files_properties(src/lt_library.cpp PROPERTIES COMPILE_DEFINITIONS
  "SWITCHYARD_CUBLASLT_PATH=\"$<TARGET_FILE_DIR:CUDA::cublasLt>/$<TARGET_FILE_NAME:CUDA::cublasLt>\"")
