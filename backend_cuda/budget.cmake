# SPDX-License-Identifier: Apache-2.0
# The path with slots of fixed size: steps of which the host knows no count.
target_sources(switchyard_backend_cuda PRIVATE
  src/budget_backward.cpp src/budget_combine.cpp src/budget_group.cpp src/budget_lists.cpp src/budget_options.cpp src/budget_steps.cpp src/budget_traffic.cpp src/plan_error.cpp
  kernels/budget_gradients.cu kernels/budget_join.cu kernels/budget_land.cu kernels/budget_plan.cu kernels/budget_send.cu)
