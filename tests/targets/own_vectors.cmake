# SPDX-License-Identifier: Apache-2.0
# The project's own golden vectors (golden/own): written by the oracles, run by the built CLI. See golden/README.md.
add_executable(make_own_vectors golden/make_own_vectors.cpp golden/own_vectors/alltoall.cpp
  golden/own_vectors/eplb_exec.cpp golden/own_vectors/eplb_policy.cpp)
target_include_directories(make_own_vectors PRIVATE ${CMAKE_CURRENT_SOURCE_DIR})
switchyard_target_defaults(make_own_vectors)

# switchyard_check_own_vectors(<test> <file> <definitions of golden/own_vectors/check.cmake>)
function(switchyard_check_own_vectors test file)
  add_test(NAME own_vectors_${test} COMMAND ${CMAKE_COMMAND} ${ARGN} -DFILE=${CMAKE_CURRENT_SOURCE_DIR}/golden/own/${file}.json
    -P ${CMAKE_CURRENT_SOURCE_DIR}/golden/own_vectors/check.cmake)
  set_tests_properties(own_vectors_${test} PROPERTIES LABELS golden TIMEOUT 300)
endfunction()

foreach(file alltoall eplb_exec eplb_policy)
  switchyard_check_own_vectors(${file}_regenerate ${file} -DMODE=regenerate -DGENERATOR=$<TARGET_FILE:make_own_vectors>
    -DWORK=${CMAKE_CURRENT_BINARY_DIR}/own_vectors/regenerate_${file})
endforeach()

if(NOT TARGET switchyard_cli)
  return()
endif()
foreach(file alltoall eplb_exec eplb_policy)
  switchyard_check_own_vectors(${file}_run ${file} -DMODE=run -DCLI=$<TARGET_FILE:switchyard_cli>)
endforeach()

# switchyard_alter_own_vectors(<test> <file> <JSON path, commas> <JSON value>): one wrong expectation must be found.
function(switchyard_alter_own_vectors test file path value)
  switchyard_check_own_vectors(${test}_altered ${file} -DMODE=alter -DCLI=$<TARGET_FILE:switchyard_cli>
    -DWORK=${CMAKE_CURRENT_BINARY_DIR}/own_vectors/${test} -DALTER=${path} -DTO=${value})
endfunction()
switchyard_alter_own_vectors(alltoall_integer alltoall cases,9,ranks,3,output_splits,0 2)
switchyard_alter_own_vectors(alltoall_value alltoall cases,10,ranks,0,combined,0,1 1000.5)
switchyard_alter_own_vectors(alltoall_kept alltoall cases,13,ranks,0,kept_map,0,0 3)
switchyard_alter_own_vectors(eplb_exec_sender eplb_exec cases,1,layers,0,ranks,7,recvs,0,1 2)
switchyard_alter_own_vectors(eplb_exec_bytes eplb_exec cases,0,layers,0,final,2,1,1 3)
switchyard_alter_own_vectors(eplb_exec_reason eplb_exec invalid_cases,0,reasons,0 \"id_out_of_range\")
switchyard_alter_own_vectors(eplb_policy_slot eplb_policy cases,0,phy2log,0,0 6)
switchyard_alter_own_vectors(eplb_policy_replica eplb_policy cases,0,log2phy,0,1,1 12)
