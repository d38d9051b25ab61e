# SPDX-License-Identifier: Apache-2.0
# All 2^32 floats (SWITCHYARD_EXHAUSTIVE=1) take longer than the usual limit.
switchyard_add_test(quantization_test LABEL unit TIMEOUT 3600 SOURCES unit/quantization_test.cpp LIBS switchyard::backend_cpu)
