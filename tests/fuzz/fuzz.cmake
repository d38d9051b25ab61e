# SPDX-License-Identifier: Apache-2.0
# Every harness twice: <name>_fuzz_replay runs the committed corpus in every build (label fuzz); <name>_fuzz is the
# libFuzzer program of the fuzz preset (clang).
if(SWITCHYARD_FUZZERS)
  add_custom_target(switchyard_fuzzers)
  # Coverage of the readers themselves, not only of the harness.
  target_compile_options(switchyard_core PRIVATE -fsanitize=fuzzer-no-link)
endif()

# switchyard_add_fuzz_program(<target> <sources...>)
function(switchyard_add_fuzz_program target)
  add_executable(${target} ${ARGN})
  target_include_directories(${target} PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
  target_link_libraries(${target} PRIVATE switchyard::core)
  switchyard_target_defaults(${target})
  switchyard_use_internals(${target})
endfunction()

foreach(name json expert_load npy csv jsonl rebalance_plan sglang_pt safetensors engine_records placement_formats)
  switchyard_add_fuzz_program(${name}_fuzz_replay fuzz/${name}_fuzz.cpp fuzz/replay_main.cpp)
  add_test(NAME ${name}_fuzz_replay COMMAND ${name}_fuzz_replay ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
  set_tests_properties(${name}_fuzz_replay PROPERTIES LABELS fuzz TIMEOUT 300)
  if(SWITCHYARD_FUZZERS)
    switchyard_add_fuzz_program(${name}_fuzz fuzz/${name}_fuzz.cpp)
    target_compile_options(${name}_fuzz PRIVATE -fsanitize=fuzzer-no-link)
    target_link_options(${name}_fuzz PRIVATE -fsanitize=fuzzer)
    add_dependencies(switchyard_fuzzers ${name}_fuzz)
  endif()
endforeach()
