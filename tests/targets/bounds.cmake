# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(bounds_property_test LABEL property SOURCES property/bounds_property_test.cpp LIBS switchyard::core)
switchyard_link_rapidcheck(bounds_property_test)
switchyard_add_test(bounds_policies_property_test LABEL property SOURCES property/bounds_policies_property_test.cpp
  LIBS switchyard::core)
switchyard_link_rapidcheck(bounds_policies_property_test)
