# SPDX-License-Identifier: Apache-2.0
# What a process finds of driver, runtime, NCCL and GPUs. NCCL must have been looked for before.
target_sources(switchyard_backend_cuda PRIVATE src/system.cpp kernels/system_probe.cu
  $<IF:$<BOOL:${NCCL_FOUND}>,src/system_nccl.cpp,src/system_no_nccl.cpp>)
set_source_files_properties(src/system.cpp PROPERTIES COMPILE_DEFINITIONS
  "SWITCHYARD_CUDA_ARCHITECTURES=\"${CMAKE_CUDA_ARCHITECTURES}\"")
