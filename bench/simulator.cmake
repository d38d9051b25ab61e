# SPDX-License-Identifier: Apache-2.0
switchyard_add_benchmark(simulator_bench SOURCES simulator_bench.cpp LIBS switchyard::sim)
