# SPDX-License-Identifier: Apache-2.0
foreach(topic names exact_sum arithmetic)
  switchyard_add_test(recipe_${topic}_test LABEL unit SOURCES unit/recipe_${topic}_test.cpp LIBS switchyard::core FULLY_OPTIMISED)
endforeach()

switchyard_add_test(recipe_exact_sum_property_test LABEL property SOURCES property/recipe_exact_sum_property_test.cpp
                    LIBS switchyard::core FULLY_OPTIMISED)
switchyard_link_rapidcheck(recipe_exact_sum_property_test)

# The arithmetic with its last two additions swapped: the same test, built against it, has to fail.
file(READ ${PROJECT_SOURCE_DIR}/core/hd/switchyard/hd/combine_step.hpp step)
set(loop "for (std::int64_t slot = 0; slot < count; ++slot) {")
set(mutant_loop "for (std::int64_t i = 0; i < count; ++i) {
    std::int64_t const slot = count > 2 && i + 2 >= count ? 2 * count - 3 - i : i;")
string(REPLACE "${loop}" "${mutant_loop}" mutant "${step}")
if(mutant STREQUAL step)
  message(FATAL_ERROR "recipe_mutant_test: combine_step.hpp has no loop of the known form to alter")
endif()
file(CONFIGURE OUTPUT recipe_mutant/switchyard/hd/combine_step.hpp CONTENT "${mutant}" @ONLY)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/core/hd/switchyard/hd/combine_step.hpp)
switchyard_add_test(recipe_mutant_test LABEL unit SOURCES unit/recipe_arithmetic_test.cpp LIBS switchyard::core)
target_include_directories(recipe_mutant_test BEFORE PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/recipe_mutant)
set_tests_properties(recipe_mutant_test PROPERTIES WILL_FAIL TRUE)
