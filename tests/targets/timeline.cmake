# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(timeline_test LABEL unit SOURCES unit/timeline_test.cpp LIBS switchyard::sim)
switchyard_add_test(timeline_laws_test LABEL property SOURCES property/timeline_laws_test.cpp LIBS switchyard::sim)
