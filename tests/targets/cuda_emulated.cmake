# SPDX-License-Identifier: Apache-2.0
# Device code of fused steps on the host: needs the toolkit's headers, no GPU.
switchyard_add_test(cuda_emulated_step_test LABEL property SOURCES property/cuda_emulated_step_test.cpp
  LIBS switchyard::backend_cuda FULLY_OPTIMISED)
target_include_directories(cuda_emulated_step_test PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/src)
target_include_directories(cuda_emulated_step_test SYSTEM PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/kernels)
switchyard_use_cuda_headers(cuda_emulated_step_test)
find_package(NCCL 2.28 REQUIRED)
target_link_libraries(cuda_emulated_step_test PRIVATE NCCL::nccl)
# A device loads a row's packs only where it has them, which this compiler cannot see.
target_compile_options(cuda_emulated_step_test PRIVATE -Wno-unknown-pragmas $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
