# SPDX-License-Identifier: Apache-2.0
# Quantisers, experts and layers of both backends, byte for byte.
switchyard_add_gpu_program(switchyard_cuda_experts SOURCES
  cross_backend/cuda_experts_test.cpp cross_backend/cuda_engine_checks.cpp cross_backend/cuda_gradient_checks.cpp cross_backend/cuda_layer_checks.cpp
  cross_backend/cuda_quantize_checks.cpp cross_backend/quantize_probe.cu
  LIBS switchyard::backend_cuda switchyard::backend_cpu)
target_include_directories(switchyard_cuda_experts PRIVATE
  ${PROJECT_SOURCE_DIR}/backend_cuda/src ${PROJECT_SOURCE_DIR}/backend_cuda)
switchyard_use_cuda_headers(switchyard_cuda_experts)

# Their benchmark: no test, built with them so that it stays compilable.
add_executable(switchyard_gpu_experts
  ${PROJECT_SOURCE_DIR}/backend_cuda/bench/experts_bench.cpp ${PROJECT_SOURCE_DIR}/backend_cuda/bench/fma_peak.cu)
target_link_libraries(switchyard_gpu_experts PRIVATE switchyard::backend_cuda)
switchyard_target_defaults(switchyard_gpu_experts)
