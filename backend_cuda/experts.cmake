# SPDX-License-Identifier: Apache-2.0
# Quantisers, the exact expert engine and the layer's parts on the GPU.
target_sources(switchyard_backend_cuda PRIVATE
  src/expert_steps.cpp src/expert_tables.cpp src/experts.cpp src/join_bias.cpp src/layer_experts.cpp src/prepare_batch.cpp
  src/prepare_backward.cpp src/prepare_finalize.cpp src/quantize.cpp
  kernels/expert_chains.cu kernels/expert_codes.cu kernels/expert_steps.cu
  kernels/quantize_group_fp8.cu kernels/quantize_group_other.cu kernels/quantize_scaled.cu kernels/quantize_whole.cu)
