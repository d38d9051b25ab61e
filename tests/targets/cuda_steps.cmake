# SPDX-License-Identifier: Apache-2.0
# Sums and gradients of combines; StepExecutor's paths beside the CPU, on one GPU; switchyard_nccl_ranks has them between GPUs.
if(SWITCHYARD_HAVE_CUDA)
  target_sources(switchyard_cuda_bits PRIVATE cross_backend/cuda_sum_checks.cpp)
  switchyard_add_gpu_program(switchyard_cuda_steps SOURCES cross_backend/cuda_steps_test.cpp
    LIBS switchyard::backend_cuda switchyard::backend_cpu)
  switchyard_use_cuda_headers(switchyard_cuda_steps)

  # The backend's host side over a runtime of host memory: needs the toolkit's headers, no GPU.
  if(SWITCHYARD_HAVE_NCCL)
    switchyard_add_test(cuda_host_side_test LABEL unit SOURCES unit/cuda_host_side_test.cpp support/fake_cuda_runtime.cpp
      LIBS switchyard::backend_cuda switchyard::backend_cpu)
    target_include_directories(cuda_host_side_test PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/src)
    target_include_directories(cuda_host_side_test SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
    # A call that the runtime of host memory lacks brings in the library, whose other functions then come second.
    target_link_options(cuda_host_side_test PRIVATE -Wl,--allow-multiple-definition)
  endif()
  # Device code of the row kernels on the host: needs the toolkit's headers, no GPU.
  switchyard_add_test(cuda_emulated_rows_test LABEL property SOURCES property/cuda_emulated_rows_test.cpp
    LIBS switchyard::core)
  target_include_directories(cuda_emulated_rows_test PRIVATE ${PROJECT_SOURCE_DIR}/core/hd
    ${PROJECT_SOURCE_DIR}/backend_cuda/src ${PROJECT_SOURCE_DIR}/backend_cuda/include)
  target_include_directories(cuda_emulated_rows_test SYSTEM PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/kernels)
  switchyard_use_cuda_headers(cuda_emulated_rows_test)
endif()
