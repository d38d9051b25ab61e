# SPDX-License-Identifier: Apache-2.0
# The CUDA backend: what needs no GPU runs everywhere; what needs one is built wherever the toolkit is and run where a GPU
# is (exit 77 = skipped).
switchyard_add_test(launch_config_test LABEL unit SOURCES unit/launch_config_test.cpp LIBS switchyard::launch)
switchyard_add_test(launch_control_test LABEL unit SOURCES unit/launch_control_test.cpp LIBS switchyard::launch)
switchyard_add_test(launch_conformance_test LABEL conformance TIMEOUT 900 SOURCES
  conformance/launch_conformance_test.cpp ${PROJECT_SOURCE_DIR}/backend_cuda/src/message_lists.cpp LIBS switchyard::launch)
switchyard_add_test(cuda_path_steps_test LABEL property SOURCES
  property/cuda_path_steps_test.cpp ${PROJECT_SOURCE_DIR}/backend_cuda/src/path_steps.cpp
  ${PROJECT_SOURCE_DIR}/backend_cuda/src/join_bias.cpp LIBS switchyard::backend_cpu)
target_include_directories(cuda_path_steps_test PRIVATE
  ${PROJECT_SOURCE_DIR}/backend_cuda/src ${PROJECT_SOURCE_DIR}/backend_cuda/include)
switchyard_add_test(row_report_test LABEL unit SOURCES unit/row_report_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(cuda_plan_step_test LABEL property SOURCES property/cuda_plan_step_test.cpp LIBS switchyard::core)
target_include_directories(launch_conformance_test PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/src)

# Consumers of the C interface, compiled as C.
enable_language(C)
function(switchyard_c_consumer name)
  add_executable(${name} consumer/${name}.c)
  target_link_libraries(${name} PRIVATE switchyard::c_abi)
  target_compile_features(${name} PRIVATE c_std_99)
  target_compile_options(${name} PRIVATE -Wall -Wextra -Wpedantic -Wconversion -Werror)
  if(SWITCHYARD_SANITIZE)
    target_link_options(${name} PRIVATE -fsanitize=${SWITCHYARD_SANITIZE})
  endif()
  add_test(NAME ${name} COMMAND ${name})
endfunction()
switchyard_c_consumer(c_abi_test)
set_tests_properties(c_abi_test PROPERTIES LABELS consumer)

if(SWITCHYARD_HAVE_CUDA)
  # switchyard_add_gpu_program(<name> SOURCES <files> LIBS <targets>)
  function(switchyard_add_gpu_program name)
    cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE ${ARG_LIBS})
    target_include_directories(${name} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
    switchyard_target_defaults(${name})
    switchyard_use_internals(${name})
    add_test(NAME ${name} COMMAND ${name})
    set_tests_properties(${name} PROPERTIES LABELS cross_backend SKIP_RETURN_CODE 77)
  endfunction()

  # What a program that chooses its device itself includes.
  function(switchyard_use_cuda_headers name)
    target_include_directories(${name} SYSTEM PRIVATE ${CUDAToolkit_INCLUDE_DIRS})
    target_link_libraries(${name} PRIVATE CUDA::cudart_static)
  endfunction()

  switchyard_add_gpu_program(switchyard_cuda_executor SOURCES cross_backend/cuda_executor_test.cpp
    LIBS switchyard::backend_cuda switchyard::backend_cpu)

  # Allocations that fail on purpose: backend_cuda/src/allocation_fault.hpp.
  switchyard_add_gpu_program(switchyard_cuda_allocations SOURCES cross_backend/executor_allocations_test.cpp
    cross_backend/executor_allocations_experts.cpp cross_backend/rebalance_allocations.cpp
    LIBS switchyard::backend_cuda switchyard::backend_cpu)
  target_include_directories(switchyard_cuda_allocations PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/src)

  switchyard_add_gpu_program(switchyard_cuda_rebalance SOURCES cross_backend/rebalance_device_test.cpp
    LIBS switchyard::backend_cuda switchyard::backend_cpu)
  switchyard_use_cuda_headers(switchyard_cuda_rebalance)

  include(${CMAKE_CURRENT_LIST_DIR}/cuda_budget.cmake)
  include(${CMAKE_CURRENT_LIST_DIR}/cuda_experts.cmake)

  switchyard_add_gpu_program(switchyard_cuda_planner SOURCES cross_backend/cuda_planner_test.cpp
    LIBS switchyard::backend_cuda)
  switchyard_use_cuda_headers(switchyard_cuda_planner)

  switchyard_add_gpu_program(switchyard_cuda_router SOURCES
    cross_backend/cuda_router_test.cpp cross_backend/cuda_router_faults.cpp cross_backend/cuda_router_losses.cpp
    cross_backend/cuda_router_sinkhorn.cpp LIBS switchyard::backend_cuda)
  switchyard_use_cuda_headers(switchyard_cuda_router)

  if(SWITCHYARD_HAVE_NCCL)
    switchyard_add_gpu_program(switchyard_nccl_conformance SOURCES cross_backend/nccl_conformance_test.cpp
      LIBS switchyard::backend_cuda doctest::doctest)
    switchyard_add_gpu_program(switchyard_nccl_ranks SOURCES cross_backend/nccl_ranks_test.cpp
      cross_backend/rank_faults_rebalance.cpp
      LIBS switchyard::backend_cuda switchyard::backend_cpu doctest::doctest)
    switchyard_use_cuda_headers(switchyard_nccl_conformance)
    target_include_directories(switchyard_nccl_conformance PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/src)
    target_include_directories(switchyard_nccl_ranks PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/src)
    switchyard_use_cuda_headers(switchyard_nccl_ranks)
    switchyard_add_gpu_program(switchyard_nccl_rebalance SOURCES cross_backend/rebalance_nccl_test.cpp
      LIBS switchyard::backend_cuda switchyard::backend_cpu doctest::doctest)
    switchyard_use_cuda_headers(switchyard_nccl_rebalance)
    find_package(NCCL 2.28 REQUIRED)
    switchyard_c_consumer(c_abi_device_test)
    target_link_libraries(c_abi_device_test PRIVATE NCCL::nccl)
    switchyard_use_cuda_headers(c_abi_device_test)
    set_tests_properties(c_abi_device_test PROPERTIES LABELS cross_backend SKIP_RETURN_CODE 77)
    include(${CMAKE_CURRENT_LIST_DIR}/cuda_emulated.cmake)
    include(${CMAKE_CURRENT_LIST_DIR}/cuda_mutants.cmake)
  endif()
endif()
