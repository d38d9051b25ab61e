# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(formats_test LABEL unit
  SOURCES unit/formats_load_test.cpp unit/formats_placement_test.cpp unit/formats_sglang_pt_test.cpp LIBS switchyard::core)

# Third parties read what we write. Exit code 77: numpy or yaml is missing, and the output says so.
find_package(Python3 COMPONENTS Interpreter QUIET)
if(Python3_Interpreter_FOUND AND TARGET switchyard_cli)
  # Debian's modules belong to Debian's interpreter; another one on the PATH would not see them.
  find_program(SWITCHYARD_SYSTEM_PYTHON NAMES python3 PATHS /usr/bin NO_DEFAULT_PATH)
  if(NOT SWITCHYARD_SYSTEM_PYTHON)
    set(SWITCHYARD_SYSTEM_PYTHON ${Python3_EXECUTABLE})
  endif()
  add_test(NAME formats_third_party_test COMMAND ${SWITCHYARD_SYSTEM_PYTHON} -B
    ${CMAKE_CURRENT_SOURCE_DIR}/unit/formats_third_party_test.py $<TARGET_FILE:switchyard_cli>)
  set_tests_properties(formats_third_party_test PROPERTIES LABELS unit SKIP_RETURN_CODE 77)
else()
  message(STATUS "formats_third_party_test: not run, python3 or the CLI is missing")
endif()
