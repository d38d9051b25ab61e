# SPDX-License-Identifier: Apache-2.0
# Rules of the repository itself.
foreach(rule layering text_rules)
  add_test(NAME style_${rule} COMMAND sh ${PROJECT_SOURCE_DIR}/tests/style/${rule}.sh ${PROJECT_SOURCE_DIR})
  set_tests_properties(style_${rule} PROPERTIES LABELS style)
endforeach()
