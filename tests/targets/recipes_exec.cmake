# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(recipes_exec_test LABEL property SOURCES property/recipes_exec_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_test(recipes_exec_errors_test LABEL unit SOURCES unit/recipes_exec_errors_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_test(backward_exec_test LABEL property SOURCES property/backward_exec_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_test(weights_exec_test LABEL property SOURCES property/weights_exec_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_test(stage_exec_test LABEL property SOURCES property/stage_exec_test.cpp
  LIBS switchyard::core switchyard::backend_cpu)
