# SPDX-License-Identifier: Apache-2.0
# How every Switchyard target is compiled. Nothing here reaches consumers.

set(SWITCHYARD_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wnon-virtual-dtor
    -Woverloaded-virtual -Wold-style-cast -Wextra-semi)

# The arithmetic contract (DESIGN 2.8): multiply and add stay unfused unless the source says fma. Holds for every host
# compile, nvcc's host pass included.
set(SWITCHYARD_CONTRACT_FLAGS -ffp-contract=off)
set(SWITCHYARD_CUDA_FLAGS -fmad=false -Xcompiler=-ffp-contract=off,-Wall,-Wextra)

# switchyard_target_defaults(<target>): standard, warnings, contract flags, sanitizers.
function(switchyard_target_defaults target)
  target_compile_features(${target} PUBLIC cxx_std_20)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:${SWITCHYARD_WARNINGS};${SWITCHYARD_CONTRACT_FLAGS}>
                                           "$<$<COMPILE_LANGUAGE:CUDA>:${SWITCHYARD_CUDA_FLAGS}>")
  if(SWITCHYARD_WARNINGS_AS_ERRORS)
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
  endif()
  if(SWITCHYARD_SANITIZE)
    target_compile_options(${target} PRIVATE
      $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${SWITCHYARD_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer>)
    target_link_options(${target} PRIVATE -fsanitize=${SWITCHYARD_SANITIZE})
    # g++ 12 warns of uninitialised reads that its own instrumentation makes up.
    target_compile_options(${target} PRIVATE $<$<COMPILE_LANG_AND_ID:CXX,GNU>:-Wno-maybe-uninitialized>)
  endif()
endfunction()

# switchyard_use_internals(<target>): the headers that are shared by our own parts and never installed
# (core/hd: host-device arithmetic; core/internal: error macro, strict JSON).
function(switchyard_use_internals target)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/core/hd ${PROJECT_SOURCE_DIR}/core/internal)
  target_link_libraries(${target} PRIVATE fmt::fmt $<BUILD_INTERFACE:nlohmann_json::nlohmann_json>)
endfunction()

# switchyard_precompile_headers(<target>): on request only, since a source then compiles without an include that it lacks.
# Sources with options of their own need SKIP_PRECOMPILE_HEADERS.
function(switchyard_precompile_headers target)
  if(SWITCHYARD_PRECOMPILED_HEADERS)
    target_precompile_headers(${target} PRIVATE <algorithm> <array> <cmath> <cstdint> <cstring> <functional> <map> <memory>
      <numeric> <optional> <span> <string> <string_view> <utility> <vector> <fmt/format.h>)
  endif()
endfunction()

# switchyard_add_library(<short name>): target switchyard_<name>, alias switchyard::<name>, public headers in include/.
function(switchyard_add_library name)
  set(target switchyard_${name})
  add_library(${target})
  add_library(switchyard::${name} ALIAS ${target})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} VERIFY_INTERFACE_HEADER_SETS ${SWITCHYARD_DEVELOPER_MODE})
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
  switchyard_target_defaults(${target})
  switchyard_use_internals(${target})
  set_property(GLOBAL APPEND PROPERTY SWITCHYARD_INSTALLED_TARGETS ${target})
endfunction()
