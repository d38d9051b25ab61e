# SPDX-License-Identifier: Apache-2.0
# All 2^32 floats (SWITCHYARD_EXHAUSTIVE=1) take longer than the usual limit.
switchyard_add_test(hd_math_f32_test LABEL unit TIMEOUT 3600 SOURCES unit/hd_math_f32_test.cpp LIBS switchyard::core FULLY_OPTIMISED)
switchyard_add_test(router_test LABEL unit SOURCES unit/router_test.cpp LIBS switchyard::core)
switchyard_add_test(router_losses_test LABEL unit SOURCES unit/router_losses_test.cpp LIBS switchyard::core FULLY_OPTIMISED)
switchyard_add_test(router_oracle_test LABEL property SOURCES property/router_oracle_test.cpp LIBS switchyard::core)
switchyard_link_rapidcheck(router_oracle_test)
switchyard_add_test(router_crew_test LABEL property SOURCES property/router_crew_test.cpp LIBS switchyard::core FULLY_OPTIMISED)

# The comparison with the recorded vectors is the one that the CLI's command `vectors` runs.
switchyard_add_test(router_vectors_test LABEL golden SOURCES golden/router_vectors_test.cpp
  LIBS switchyard_vectors)
