# SPDX-License-Identifier: Apache-2.0
foreach(topic names exact_sum arithmetic)
  switchyard_add_test(recipe_${topic}_test LABEL unit SOURCES unit/recipe_${topic}_test.cpp LIBS switchyard::core)
endforeach()

switchyard_add_test(recipe_exact_sum_property_test LABEL property SOURCES property/recipe_exact_sum_property_test.cpp
                    LIBS switchyard::core)
switchyard_link_rapidcheck(recipe_exact_sum_property_test)
