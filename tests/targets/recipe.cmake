# SPDX-License-Identifier: Apache-2.0
switchyard_add_test(recipe_exact_sum_test LABEL unit SOURCES unit/recipe_exact_sum_test.cpp LIBS switchyard::core)

switchyard_add_test(recipe_exact_sum_property_test LABEL property SOURCES property/recipe_exact_sum_property_test.cpp
                    LIBS switchyard::core)
switchyard_link_rapidcheck(recipe_exact_sum_property_test)
