# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(io_text_test LABEL unit SOURCES unit/io_json_value_test.cpp unit/io_file_test.cpp
                    LIBS switchyard::core)
switchyard_add_test(io_load_test LABEL unit SOURCES unit/io_load_reader_test.cpp unit/io_load_hostile_test.cpp
                    LIBS switchyard::core)
switchyard_add_test(io_load_property_test LABEL property SOURCES property/io_load_property_test.cpp LIBS switchyard::core)
switchyard_link_rapidcheck(io_load_property_test)
include(${CMAKE_CURRENT_LIST_DIR}/../fuzz/fuzz.cmake)
