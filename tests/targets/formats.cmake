# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(formats_test LABEL unit
  SOURCES unit/formats_load_test.cpp unit/formats_placement_test.cpp unit/formats_sglang_pt_test.cpp LIBS switchyard::core)
