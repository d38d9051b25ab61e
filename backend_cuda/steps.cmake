# SPDX-License-Identifier: Apache-2.0
# The path chosen for a step. Included where it is known whether there is NCCL.
target_sources(switchyard_backend_cuda PRIVATE
  src/agreement.cpp src/step_exact.cpp src/step_executor.cpp src/step_slots.cpp)
if(NCCL_FOUND)
  target_sources(switchyard_backend_cuda PRIVATE src/step_fused.cpp)
else()
  target_sources(switchyard_backend_cuda PRIVATE src/step_no_fused.cpp)
endif()
