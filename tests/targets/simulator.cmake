# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(simulator_test LABEL unit SOURCES unit/simulator_astra_test.cpp unit/simulator_calibration_test.cpp unit/simulator_costs_test.cpp unit/simulator_network_test.cpp
                    unit/simulator_traffic_test.cpp unit/simulator_uneven_test.cpp
                    LIBS switchyard::sim)
switchyard_add_test(simulator_presets_test LABEL golden SOURCES golden/simulator_presets_test.cpp LIBS switchyard::sim)
switchyard_add_test(simulator_validation_test LABEL golden SOURCES golden/simulator_validation_test.cpp LIBS switchyard::sim)
target_compile_definitions(simulator_validation_test PRIVATE SWITCHYARD_SOURCE_FOLDER="${PROJECT_SOURCE_DIR}"
  SWITCHYARD_ALLTOALLV_FIXTURES="alltoallv_h100x2_host.json","alltoallv_h100x4_host.json","alltoallv_h100x2_graph.json","alltoallv_h100x4_graph.json")
switchyard_add_test(simulator_laws_test LABEL property SOURCES property/simulator_laws_test.cpp LIBS switchyard::sim)
if(TARGET switchyard_cli)
  switchyard_add_test(tools_simulate_test LABEL unit SOURCES unit/tools_simulate_test.cpp unit/tools_sweep_test.cpp unit/tools_workers_test.cpp
                      LIBS switchyard::core)
  target_compile_definitions(tools_simulate_test PRIVATE SWITCHYARD_CLI_PATH="$<TARGET_FILE:switchyard_cli>")
  add_dependencies(tools_simulate_test switchyard_cli)
endif()
