# SPDX-License-Identifier: Apache-2.0
# Quantisers, experts and layers of both backends, byte for byte.
switchyard_add_gpu_program(switchyard_cuda_experts SOURCES
  cross_backend/cuda_experts_test.cpp cross_backend/cuda_engine_checks.cpp cross_backend/cuda_gradient_checks.cpp cross_backend/cuda_layer_checks.cpp
  cross_backend/cuda_quantize_checks.cpp cross_backend/quantize_probe.cu
  LIBS switchyard::backend_cuda switchyard::backend_cpu)
target_include_directories(switchyard_cuda_experts PRIVATE
  ${PROJECT_SOURCE_DIR}/backend_cuda/src ${PROJECT_SOURCE_DIR}/backend_cuda)
switchyard_use_cuda_headers(switchyard_cuda_experts)

# A layer as one graph, one process per rank.
if(SWITCHYARD_HAVE_NCCL)
  switchyard_add_gpu_program(switchyard_nccl_layer SOURCES cross_backend/nccl_layer_test.cpp
    LIBS switchyard::backend_cuda switchyard::backend_cpu)
  switchyard_use_cuda_headers(switchyard_nccl_layer)
endif()
