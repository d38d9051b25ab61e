# SPDX-License-Identifier: Apache-2.0
# What a group says of itself; needs no GPU.
switchyard_add_test(launch_group_test LABEL unit SOURCES unit/launch_group_test.cpp
  ${PROJECT_SOURCE_DIR}/backend_cuda/src/group_line.cpp ${PROJECT_SOURCE_DIR}/backend_cuda/src/versions.cpp
  LIBS switchyard::core)
target_include_directories(launch_group_test PRIVATE
  ${PROJECT_SOURCE_DIR}/backend_cuda/src ${PROJECT_SOURCE_DIR}/backend_cuda/include)
