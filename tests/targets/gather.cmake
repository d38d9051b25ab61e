# SPDX-License-Identifier: Apache-2.0
# The composed path of a dispatch: rows move once, by maps, through the peers' memory.
switchyard_add_test(gather_paths_test LABEL property SOURCES property/gather_paths_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_test(gather_peer_memory_test LABEL unit SOURCES unit/gather_peer_memory_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
target_include_directories(gather_peer_memory_test PRIVATE ${PROJECT_SOURCE_DIR}/backend_cpu/internal)
switchyard_add_test(gather_split_test LABEL property SOURCES property/gather_split_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
