# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(sim_generators_test LABEL unit SOURCES unit/sim_load_test.cpp unit/sim_routing_test.cpp
                    unit/sim_workload_test.cpp
                    LIBS switchyard::sim)
