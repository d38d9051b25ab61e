# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(timeline_test LABEL unit SOURCES unit/timeline_test.cpp LIBS switchyard::sim)
