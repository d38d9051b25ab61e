# SPDX-License-Identifier: Apache-2.0
# StepExecutor's paths beside the CPU, on one GPU; switchyard_nccl_ranks has them between GPUs.
if(SWITCHYARD_HAVE_CUDA)
  switchyard_add_gpu_program(switchyard_cuda_steps SOURCES cross_backend/cuda_steps_test.cpp
    LIBS switchyard::backend_cuda switchyard::backend_cpu)
  switchyard_use_cuda_headers(switchyard_cuda_steps)
endif()
