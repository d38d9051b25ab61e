// SPDX-License-Identifier: Apache-2.0
/// The one macro that lets a function compile for the host and for a CUDA device.
#pragma once

#if defined(__CUDACC__)
#define SWITCHYARD_HD __host__ __device__
#else
#define SWITCHYARD_HD
#endif
