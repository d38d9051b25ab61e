# SPDX-License-Identifier: Apache-2.0
# The three things that must hold for a file of own golden vectors. Usage, with -DFILE=<committed file>:
#   cmake -DMODE=regenerate -DGENERATOR=<program> -DWORK=<folder>   the program writes the same bytes again
#   cmake -DMODE=run -DCLI=<switchyard>                             every case passes, none is skipped
#   cmake -DMODE=alter -DCLI=<switchyard> -DWORK=<folder> -DALTER=<JSON path, commas> -DTO=<JSON value>
#                                                                   one wrong expectation fails one case, exit 1
get_filename_component(name ${FILE} NAME)
file(READ ${FILE} committed)

# run_vectors(<file>): sets exit_code and last_line.
function(run_vectors file)
  execute_process(COMMAND ${CLI} vectors ${file} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE errors)
  string(STRIP "${output}" output)
  string(REGEX REPLACE ".*\n" "" line "${output}")
  set(exit_code "${status}" PARENT_SCOPE)
  set(last_line "${line}" PARENT_SCOPE)
  set(printed "${output}\n${errors}" PARENT_SCOPE)
endfunction()

# The number of cases, from the file alone.
function(count_cases result)
  set(total 0)
  foreach(list cases invalid_cases)
    string(JSON length ERROR_VARIABLE missing LENGTH "${committed}" ${list})
    if(NOT missing)
      math(EXPR total "${total} + ${length}")
    endif()
  endforeach()
  set(${result} ${total} PARENT_SCOPE)
endfunction()

function(expect exit line)
  if(NOT exit_code STREQUAL exit OR NOT last_line STREQUAL line)
    message(FATAL_ERROR "${name}: expected exit ${exit} and '${line}', got exit ${exit_code} and:\n${printed}")
  endif()
endfunction()

count_cases(total)
if(MODE STREQUAL "regenerate")
  file(MAKE_DIRECTORY ${WORK})
  file(REMOVE ${WORK}/${name})
  execute_process(COMMAND ${GENERATOR} ${WORK} COMMAND_ERROR_IS_FATAL ANY)
  execute_process(COMMAND ${CMAKE_COMMAND} -E compare_files ${FILE} ${WORK}/${name} RESULT_VARIABLE differs)
  if(differs)
    message(FATAL_ERROR "${WORK}/${name} is not the committed ${FILE}: look at the difference, then copy it if it is meant")
  endif()
elseif(MODE STREQUAL "run")
  run_vectors(${FILE})
  expect(0 "${total} passed, 0 failed")
elseif(MODE STREQUAL "alter")
  string(REPLACE "," ";" path "${ALTER}")
  string(JSON before GET "${committed}" ${path})
  if(before STREQUAL TO OR "\"${before}\"" STREQUAL TO)
    message(FATAL_ERROR "${name}: ${ALTER} already is ${TO}, nothing would be altered")
  endif()
  string(JSON altered SET "${committed}" ${path} "${TO}")
  file(MAKE_DIRECTORY ${WORK})
  file(WRITE ${WORK}/${name} "${altered}")
  run_vectors(${WORK}/${name})
  math(EXPR passed "${total} - 1")
  expect(1 "${passed} passed, 1 failed")
else()
  message(FATAL_ERROR "MODE is regenerate, run or alter")
endif()
