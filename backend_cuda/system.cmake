# SPDX-License-Identifier: Apache-2.0
# What a process finds of driver, runtime, NCCL and GPUs (NCCL must have been looked for before), and names for
# profilers.
target_sources(switchyard_backend_cuda PRIVATE src/describe_group.cpp src/group_line.cpp src/nvtx_range.cpp
  src/system.cpp src/versions.cpp kernels/system_probe.cu
  $<IF:$<BOOL:${NCCL_FOUND}>,src/system_nccl.cpp,src/system_no_nccl.cpp>)
target_link_libraries(switchyard_backend_cuda PRIVATE ${CMAKE_DL_LIBS})
set_source_files_properties(src/system.cpp PROPERTIES COMPILE_DEFINITIONS
  "SWITCHYARD_CUDA_ARCHITECTURES=\"${CMAKE_CUDA_ARCHITECTURES}\"")
