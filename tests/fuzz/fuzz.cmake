# SPDX-License-Identifier: Apache-2.0
# Every harness twice: <name>_fuzz_replay runs the committed corpus in every build (label fuzz); <name>_fuzz is the
# libFuzzer program of the fuzz preset (clang).
if(SWITCHYARD_FUZZERS)
  add_custom_target(switchyard_fuzzers)
  # Coverage of the readers themselves, not only of the harness.
  target_compile_options(switchyard_core PRIVATE -fsanitize=fuzzer-no-link)
endif()

# The replay's main().
add_library(switchyard_fuzz_replay STATIC fuzz/replay_main.cpp)
target_include_directories(switchyard_fuzz_replay PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
target_link_libraries(switchyard_fuzz_replay PUBLIC switchyard::core)
switchyard_target_defaults(switchyard_fuzz_replay)
switchyard_use_internals(switchyard_fuzz_replay)

# switchyard_add_fuzz_program(<target> <harness> <libraries...>)
function(switchyard_add_fuzz_program target harness)
  add_executable(${target} fuzz/${harness}.cpp)
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE switchyard::core ${ARGN})
  switchyard_target_defaults(${target})
  switchyard_use_internals(${target})
endfunction()

foreach(name json expert_load npy csv jsonl rebalance_plan sglang_pt safetensors engine_records placement_formats)
  switchyard_add_fuzz_program(${name}_fuzz_replay ${name}_fuzz switchyard_fuzz_replay)
  add_test(NAME ${name}_fuzz_replay COMMAND ${name}_fuzz_replay ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
  set_tests_properties(${name}_fuzz_replay PROPERTIES LABELS fuzz TIMEOUT 300)
  if(SWITCHYARD_FUZZERS)
    switchyard_add_fuzz_program(${name}_fuzz ${name}_fuzz)
    target_compile_options(${name}_fuzz PRIVATE -fsanitize=fuzzer-no-link)
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
    add_dependencies(switchyard_fuzzers ${name}_fuzz)
  endif()
endforeach()
