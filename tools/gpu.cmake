# SPDX-License-Identifier: Apache-2.0
# The commands that use GPUs where this build has the CUDA backend, and say which build is needed where it has not.
# The header of SystemReport and what
# benchmarks report need no CUDA, so both builds see them.
target_sources(switchyard_tools PRIVATE
  src/bench/alltoallv_cpu.cpp src/bench/bench_table.cpp src/commands/bench.cpp src/commands/doctor.cpp src/commands/doctor_facts.cpp src/commands/doctor_gpus.cpp src/commands/doctor_host.cpp
  src/commands/doctor_variables.cpp)
target_link_libraries(switchyard_tools PUBLIC switchyard::launch switchyard_bench_report)
target_include_directories(switchyard_tools PUBLIC ${PROJECT_SOURCE_DIR}/backend_cuda/include)
set_source_files_properties(src/commands/doctor_facts.cpp PROPERTIES COMPILE_DEFINITIONS
  "SWITCHYARD_DOCTOR_LIBRARIES=\"Boost ${Boost_VERSION_STRING}, parallel loops on ${SWITCHYARD_PARALLEL}\"")
if(SWITCHYARD_HAVE_CUDA)
  # Objects of their own: the toolkit's include folders must not reach the other commands, which `make check` would then
  # compile twice, without CUDA and with it.
  add_library(switchyard_tools_cuda OBJECT
    src/bench/gpu_bench_cuda.cpp src/commands/doctor_gpu_cuda.cpp src/vectors/dispatch_backend_cuda.cpp
    src/vectors/routed_batch_cuda.cpp)
  target_link_libraries(switchyard_tools_cuda PRIVATE switchyard_vectors switchyard::sim switchyard::launch
    switchyard_bench_report switchyard::backend_cuda switchyard_cuda_bench)
  switchyard_target_defaults(switchyard_tools_cuda)
  switchyard_use_internals(switchyard_tools_cuda)
  target_sources(switchyard_tools PRIVATE $<TARGET_OBJECTS:switchyard_tools_cuda>)
  target_link_libraries(switchyard_tools PRIVATE $<LINK_ONLY:switchyard::backend_cuda> $<LINK_ONLY:switchyard_cuda_bench>)
else()
  target_sources(switchyard_tools PRIVATE src/bench/gpu_bench_none.cpp src/commands/doctor_gpu_none.cpp src/vectors/dispatch_backend_no_cuda.cpp)
endif()
