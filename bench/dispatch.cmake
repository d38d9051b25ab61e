# SPDX-License-Identifier: Apache-2.0
switchyard_add_benchmark(dispatch_bench SOURCES dispatch_bench.cpp
  LIBS switchyard::core switchyard::backend_cpu)
switchyard_add_benchmark(dispatch_plan_bench SOURCES dispatch_plan_bench.cpp LIBS switchyard::core)
