# SPDX-License-Identifier: Apache-2.0
# Compiles SOURCE as it is, which must work, and once with each -DSWITCHYARD_BAD=n for n = 1..CASES, which must not.
# Usage: cmake -DCOMPILER=... -DSOURCE=... -DINCLUDE=... -DCASES=n -P run.cmake
function(compile bad result output)
  execute_process(COMMAND ${COMPILER} -std=c++20 -fsyntax-only -I${INCLUDE} -DSWITCHYARD_BAD=${bad} ${SOURCE}
                  RESULT_VARIABLE status ERROR_VARIABLE text)
  set(${result} ${status} PARENT_SCOPE)
  set(${output} "${text}" PARENT_SCOPE)
endfunction()

compile(0 status text)
if(NOT status EQUAL 0)
  message(FATAL_ERROR "${SOURCE} must compile without a bad line, but:\n${text}")
endif()
foreach(bad RANGE 1 ${CASES})
  compile(${bad} status text)
  if(status EQUAL 0)
    message(FATAL_ERROR "${SOURCE}: case ${bad} compiles, but must not")
  endif()
  if(NOT text MATCHES "error:")
    message(FATAL_ERROR "${SOURCE}: case ${bad} failed without a compiler error:\n${text}")
  endif()
endforeach()
