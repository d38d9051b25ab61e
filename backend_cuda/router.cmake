# SPDX-License-Identifier: Apache-2.0
# The router front end on the GPU.
target_sources(switchyard_backend_cuda PRIVATE src/router.cpp kernels/router.cu)
