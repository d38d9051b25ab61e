# SPDX-License-Identifier: Apache-2.0
# Fused steps whose kernels forget what tells an operation from the one before: cuda_emulated_step_test, built against
# altered kernels, has to fail for every fault that SWITCHYARD_MUTANT names, and to pass without one.
set(mutants ${CMAKE_CURRENT_BINARY_DIR}/fused_mutants)
set(kernels ${PROJECT_SOURCE_DIR}/backend_cuda/kernels)
file(GLOB headers CONFIGURE_DEPENDS ${kernels}/*.cuh ${kernels}/*.hpp)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${headers})
foreach(header ${headers})
  get_filename_component(name ${header} NAME)
  file(READ ${header} "text_${name}")
endforeach()

# switchyard_mutate(<header> <line> <altered line>)
function(switchyard_mutate header line altered)
  string(REPLACE "${line}" "${altered}" changed "${text_${header}}")
  if(changed STREQUAL "${text_${header}}")
    message(FATAL_ERROR "cuda_emulated_mutant_test: ${header} has no line of the known form to alter: ${line}")
  endif()
  set("text_${header}" "${changed}" PARENT_SCOPE)
endfunction()
switchyard_mutate(fused_few.cuh "store_release(tag, generation)"
  "store_release(tag, generation - (::support::is_mutant(\"tag_not_advanced\") ? 2 : 0))")
switchyard_mutate(fused_agreement.cuh "return load_acquire(word) == generation"
  "return load_acquire(word) + (::support::is_mutant(\"old_tag_accepted\") ? 2 : 0) >= generation")
switchyard_mutate(fused_agreement.cuh "return of_digest == generation && of_rows == generation"
  "std::uint64_t const age = ::support::is_mutant(\"old_signal_accepted\") ? 2 : 0;
      return of_digest + age >= generation && of_rows + age >= generation")
switchyard_mutate(fused_window.cuh "static_cast<std::int64_t>(generation & 1) * windows.half_bytes"
  "static_cast<std::int64_t>(::support::is_mutant(\"one_half\") ? 0
           : (generation + (::support::is_mutant(\"wrong_half\") && window != windows.own ? 1 : 0)) & 1) * windows.half_bytes")
# Quoted includes look beside the including file first, so that all headers are there.
foreach(header ${headers})
  get_filename_component(name ${header} NAME)
  set(text "${text_${name}}")
  if(name MATCHES "^fused_(few|agreement|window).cuh$")
    string(REPLACE "#pragma once" "#pragma once\n#include \"support/emulated_mutant.hpp\"" text "${text}")
  endif()
  file(CONFIGURE OUTPUT fused_mutants/${name} CONTENT "${text}" @ONLY)
endforeach()

switchyard_add_test(cuda_emulated_mutant_test LABEL property SOURCES property/cuda_emulated_step_test.cpp
  LIBS switchyard::backend_cuda FULLY_OPTIMISED)
target_include_directories(cuda_emulated_mutant_test PRIVATE ${PROJECT_SOURCE_DIR}/backend_cuda/src)
target_include_directories(cuda_emulated_mutant_test SYSTEM BEFORE PRIVATE ${mutants})
switchyard_use_cuda_headers(cuda_emulated_mutant_test)
target_link_libraries(cuda_emulated_mutant_test PRIVATE NCCL::nccl)
target_compile_options(cuda_emulated_mutant_test PRIVATE -Wno-unknown-pragmas $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized>)
foreach(mutant tag_not_advanced old_tag_accepted old_signal_accepted wrong_half one_half)
  add_test(NAME cuda_emulated_mutant_${mutant} COMMAND cuda_emulated_mutant_test --abort-after=1 --test-case=rows*)
  set_tests_properties(cuda_emulated_mutant_${mutant} PROPERTIES LABELS property WILL_FAIL TRUE
    ENVIRONMENT SWITCHYARD_MUTANT=${mutant})
endforeach()
