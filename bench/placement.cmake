# SPDX-License-Identifier: Apache-2.0
switchyard_add_benchmark(placement_bench SOURCES placement_bench.cpp LIBS switchyard::core)

# Tables of docs/placement.md: no timing, its own main.
add_executable(placement_replicas placement_replicas.cpp)
target_link_libraries(placement_replicas PRIVATE switchyard::core switchyard::sim)
switchyard_target_defaults(placement_replicas)
