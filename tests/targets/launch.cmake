# SPDX-License-Identifier: Apache-2.0
# What a group says of itself, which needs no GPU, and the examples that need one, built in the tree so that they can be
# run where nothing is installed.
switchyard_add_test(launch_group_test LABEL unit SOURCES unit/launch_group_test.cpp
  ${PROJECT_SOURCE_DIR}/backend_cuda/src/group_line.cpp ${PROJECT_SOURCE_DIR}/backend_cuda/src/versions.cpp
  LIBS switchyard::core)
target_include_directories(launch_group_test PRIVATE
  ${PROJECT_SOURCE_DIR}/backend_cuda/src ${PROJECT_SOURCE_DIR}/backend_cuda/include)

if(SWITCHYARD_HAVE_NCCL)
  foreach(example 03_nccl_one_process 04_nccl_multi_process)
    string(SUBSTRING ${example} 0 2 number)
    add_executable(switchyard_example_${number} ${PROJECT_SOURCE_DIR}/examples/${example}/main.cpp)
    target_link_libraries(switchyard_example_${number} PRIVATE switchyard::backend_cuda CUDA::cudart_static)
    target_include_directories(switchyard_example_${number} SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
    switchyard_target_defaults(switchyard_example_${number})
    add_test(NAME switchyard_example_${number} COMMAND switchyard_example_${number})
    set_tests_properties(switchyard_example_${number} PROPERTIES LABELS consumer)
  endforeach()
endif()
