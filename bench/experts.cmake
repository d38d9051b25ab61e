# SPDX-License-Identifier: Apache-2.0
# OpenBLAS is a yardstick of this program only, and optional (docs/adr/0004-openblas-yardstick.md).
switchyard_add_benchmark(experts_bench SOURCES experts_bench.cpp LIBS switchyard::backend_cpu)
switchyard_add_benchmark(quantize_bench SOURCES quantize_bench.cpp LIBS switchyard::backend_cpu)
find_path(SWITCHYARD_CBLAS_INCLUDE cblas.h PATH_SUFFIXES openblas openblas-pthread)
find_library(SWITCHYARD_OPENBLAS_LIBRARY openblas)
mark_as_advanced(SWITCHYARD_CBLAS_INCLUDE SWITCHYARD_OPENBLAS_LIBRARY)
if(SWITCHYARD_CBLAS_INCLUDE AND SWITCHYARD_OPENBLAS_LIBRARY)
  target_include_directories(experts_bench SYSTEM PRIVATE ${SWITCHYARD_CBLAS_INCLUDE})
  target_link_libraries(experts_bench PRIVATE ${SWITCHYARD_OPENBLAS_LIBRARY})
  target_compile_definitions(experts_bench PRIVATE SWITCHYARD_HAVE_CBLAS=1)
endif()
