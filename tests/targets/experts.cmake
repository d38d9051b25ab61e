# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(experts_engine_test LABEL property SOURCES property/experts_engine_test.cpp LIBS switchyard::backend_cpu)
