# SPDX-License-Identifier: Apache-2.0
# The commands that use GPUs where this build has the CUDA backend, and say which build is needed where it has not.
# The header of SystemReport and what
# benchmarks report need no CUDA, so both builds see them.
target_sources(switchyard_tools PRIVATE
  src/bench/alltoallv_cpu.cpp src/bench/bench_table.cpp src/commands/bench.cpp src/commands/doctor.cpp src/commands/doctor_facts.cpp src/commands/doctor_gpus.cpp src/commands/doctor_host.cpp
  src/commands/doctor_variables.cpp src/vectors/dispatch_backend_cpu.cpp)
target_link_libraries(switchyard_tools PUBLIC switchyard::launch switchyard_bench_report)
target_include_directories(switchyard_tools PUBLIC ${PROJECT_SOURCE_DIR}/backend_cuda/include)
set_source_files_properties(src/commands/doctor_facts.cpp PROPERTIES COMPILE_DEFINITIONS
  "SWITCHYARD_DOCTOR_LIBRARIES=\"Boost ${Boost_VERSION_STRING}, parallel loops on ${SWITCHYARD_PARALLEL}\"")
if(SWITCHYARD_HAVE_CUDA)
  target_link_libraries(switchyard_tools PRIVATE switchyard::backend_cuda switchyard_cuda_bench)
  target_sources(switchyard_tools PRIVATE src/bench/gpu_bench_cuda.cpp src/commands/doctor_gpu_cuda.cpp src/vectors/dispatch_backend_cuda.cpp)
else()
  target_sources(switchyard_tools PRIVATE src/bench/gpu_bench_none.cpp src/commands/doctor_gpu_none.cpp src/vectors/dispatch_backend_no_cuda.cpp)
endif()
