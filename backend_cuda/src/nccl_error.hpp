// SPDX-License-Identifier: Apache-2.0
/// How a failed NCCL call becomes an Error.
#pragma once

#include <nccl.h>

namespace switchyard::cuda {

/// @throws Error{nccl} naming the call, NCCL's text, its last error of `comm` (may be null) and the likely cause.
[[noreturn]] void throw_nccl_error(ncclResult_t result, char const* call, ncclComm_t comm, char const* file, int line);

}  // namespace switchyard::cuda

/// Throws Error{nccl} unless `call` succeeds or, on a non-blocking communicator, is in progress.
#define SWITCHYARD_NCCL_TRY(comm, call)                                                         \
  do {                                                                                          \
    ncclResult_t const switchyard_result = (call);                                              \
    if (switchyard_result != ncclSuccess && switchyard_result != ncclInProgress)                \
      ::switchyard::cuda::throw_nccl_error(switchyard_result, #call, comm, __FILE__, __LINE__); \
  } while (false)
