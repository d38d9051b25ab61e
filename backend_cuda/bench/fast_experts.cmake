# SPDX-License-Identifier: Apache-2.0
# The fast expert engine's benchmark, where there is cuBLAS.
if(TARGET switchyard_cuda_fast)
  target_sources(switchyard_cuda_bench PRIVATE fast_experts_bench.cpp)
  target_link_libraries(switchyard_cuda_bench PRIVATE switchyard::cuda_fast)
  target_include_directories(switchyard_cuda_bench PRIVATE ${CMAKE_CURRENT_SOURCE_DIR}/../src)
  switchyard_add_bench_program(fast_experts programs/fast_experts.cpp)
  if(NCCL_FOUND)
    target_sources(switchyard_cuda_bench PRIVATE layer_bench.cpp)
    switchyard_add_bench_program(layers programs/layers.cpp)
  endif()
else()
  target_sources(switchyard_cuda_bench PRIVATE no_fast_experts.cpp)
endif()
