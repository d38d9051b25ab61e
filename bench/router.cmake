# SPDX-License-Identifier: Apache-2.0
switchyard_add_benchmark(router_bench SOURCES router_bench.cpp LIBS switchyard::core)
