# SPDX-License-Identifier: Apache-2.0
switchyard_add_benchmark(recipe_bench SOURCES recipe_bench.cpp LIBS switchyard::core)
