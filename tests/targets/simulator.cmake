# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(simulator_test LABEL unit SOURCES unit/simulator_network_test.cpp unit/simulator_traffic_test.cpp
                    LIBS switchyard::sim)
switchyard_add_test(simulator_laws_test LABEL property SOURCES property/simulator_laws_test.cpp LIBS switchyard::sim)
