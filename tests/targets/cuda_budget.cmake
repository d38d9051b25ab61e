# SPDX-License-Identifier: Apache-2.0
# Steps over slots of fixed size: on one GPU, and over NCCL with one process per rank.
switchyard_add_gpu_program(switchyard_cuda_budget SOURCES cross_backend/cuda_budget_test.cpp
  LIBS switchyard::backend_cuda switchyard::backend_cpu)
switchyard_use_cuda_headers(switchyard_cuda_budget)
if(SWITCHYARD_HAVE_NCCL)
  switchyard_add_gpu_program(switchyard_nccl_budget SOURCES cross_backend/nccl_budget_test.cpp
    LIBS switchyard::backend_cuda switchyard::backend_cpu)
  switchyard_use_cuda_headers(switchyard_nccl_budget)
endif()

# MegaBlocks' plans made by kernels.
switchyard_add_gpu_program(switchyard_cuda_bins SOURCES cross_backend/cuda_bins_test.cpp LIBS switchyard::backend_cuda)
switchyard_use_cuda_headers(switchyard_cuda_bins)

include(${CMAKE_CURRENT_LIST_DIR}/cuda_emulated_slots.cmake)
