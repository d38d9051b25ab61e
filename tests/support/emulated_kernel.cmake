# SPDX-License-Identifier: Apache-2.0
# cmake -DKERNEL=<file.cu> -DOUTPUT=<file.cpp> -P emulated_kernel.cmake: a kernel's source with its launches spelled as
# calls of support::emulate(), for emulated_device.hpp.
file(READ ${KERNEL} text)
string(REGEX REPLACE "extern __shared__ ([A-Za-z0-9_:]+) ([a-z_]+)\\[\\]"
  "auto* const \\2 = static_cast<\\1*>(support::emulated_shared())" text "${text}")
string(REGEX REPLACE "([A-Za-z0-9_]+(<[^;{}<>]*>)?)[ \n]*<<<([^;]*)>>>\\(([^;]*)\\);"
  "support::emulate(support::EmulatedLaunch(\\3), [=] { \\1(\\4); });" text "${text}")
string(REPLACE "ifdef __CUDACC__" "if 1" text "${text}")  # launches, which other tests leave out
if(text MATCHES "<<<|extern __shared__")
  message(FATAL_ERROR "emulated_kernel: ${KERNEL} launches a kernel, or shares memory, in a form that is not known")
endif()
file(WRITE ${OUTPUT} "#include \"support/emulated_device.hpp\"\n${text}")
