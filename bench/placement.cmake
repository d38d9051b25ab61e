# SPDX-License-Identifier: Apache-2.0
switchyard_add_benchmark(placement_bench SOURCES placement_bench.cpp LIBS switchyard::core)
