# SPDX-License-Identifier: Apache-2.0
# The device planner: a plan's integers made by kernels.
target_sources(switchyard_backend_cuda PRIVATE
  src/device_planner.cpp src/device_planner_bins.cpp src/device_planner_plan.cpp src/device_planner_state.cpp
  kernels/plan_bins.cu kernels/plan_block.cu kernels/plan_capacity.cu kernels/plan_count.cu kernels/plan_digest.cu kernels/plan_place.cu kernels/plan_slots.cu)
