# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(policies_property_test LABEL property SOURCES property/policies_peers_test.cpp
  property/policies_replicas_test.cpp property/policies_load_state_test.cpp
  property/policies_request_test.cpp LIBS switchyard::core)
switchyard_link_rapidcheck(policies_property_test)
