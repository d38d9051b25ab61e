# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(placement_eplb_policy_test LABEL golden SOURCES golden/placement_eplb_policy_test.cpp
  LIBS switchyard_eplb_vectors)
switchyard_add_test(placement_policy_property_test LABEL property SOURCES property/placement_policy_property_test.cpp
  LIBS switchyard::core)
switchyard_link_rapidcheck(placement_policy_property_test)
switchyard_add_test(placement_test LABEL unit SOURCES unit/placement_layout_test.cpp unit/placement_policy_test.cpp
  unit/placement_problem_test.cpp LIBS switchyard::core)
