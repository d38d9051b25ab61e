# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(experts_activation_test LABEL unit SOURCES unit/experts_activation_test.cpp LIBS switchyard::core)
switchyard_add_test(experts_engine_test LABEL property SOURCES property/experts_engine_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(experts_backward_test LABEL property SOURCES property/experts_backward_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(experts_quantized_test LABEL property SOURCES property/experts_quantized_test.cpp LIBS switchyard::backend_cpu)
switchyard_add_test(experts_formats_test LABEL unit SOURCES unit/experts_formats_test.cpp LIBS switchyard::core)
