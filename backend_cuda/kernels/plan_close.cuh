// SPDX-License-Identifier: Apache-2.0
/// What kernels do that follow each other closely: see plan_launch.cuh.
#pragma once

namespace switchyard::cuda {

/// First thing in a kernel that is launched by launch_close().
__device__ inline void await_kernel_before() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
/// First thing in a kernel that another follows closely, behind its own wait.
__device__ inline void let_next_kernel_come() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

}  // namespace switchyard::cuda
