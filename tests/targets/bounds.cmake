# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(bounds_property_test LABEL property SOURCES property/bounds_property_test.cpp LIBS switchyard::core)
switchyard_link_rapidcheck(bounds_property_test)
switchyard_add_test(bounds_policies_property_test LABEL property SOURCES property/bounds_balanced_property_test.cpp
  property/bounds_duplicates_test.cpp property/bounds_incremental_property_test.cpp LIBS switchyard::core)
switchyard_link_rapidcheck(bounds_policies_property_test)
switchyard_add_test(bounds_quality_test LABEL property SOURCES property/bounds_quality_test.cpp
  ${PROJECT_SOURCE_DIR}/bench/scoreboard_case.cpp LIBS switchyard::core)
target_include_directories(bounds_quality_test PRIVATE ${PROJECT_SOURCE_DIR}/bench)
