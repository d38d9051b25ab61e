# SPDX-License-Identifier: Apache-2.0
# CMake 3.25.0 and 3.25.1 (Debian 12) do not know that nvcc 12+ compiles C++20 and fail at generate time. Support came with
# 3.25.2. Remove this file once cmake_minimum_required is 3.25.2 or newer.
if(CMAKE_VERSION VERSION_LESS 3.25.2)
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  list(APPEND CMAKE_CUDA_COMPILE_FEATURES cuda_std_20)
endif()
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_EXTENSIONS OFF)
