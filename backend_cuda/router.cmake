# SPDX-License-Identifier: Apache-2.0
# The router front end on the GPU.
target_sources(switchyard_backend_cuda PRIVATE 
  src/router.cpp src/router_fault.cpp src/router_logits.cpp src/router_losses.cpp src/router_sinkhorn.cpp
  kernels/router.cu kernels/router_losses.cu kernels/router_sinkhorn.cu kernels/router_sums.cu)
