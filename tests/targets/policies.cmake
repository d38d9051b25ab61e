# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(policies_peers_test LABEL property SOURCES property/policies_peers_test.cpp LIBS switchyard::core)
switchyard_link_rapidcheck(policies_peers_test)
