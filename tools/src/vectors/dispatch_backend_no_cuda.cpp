// SPDX-License-Identifier: Apache-2.0
#include "switchyard/internal/require.hpp"
#include "vectors/dispatch_backend.hpp"

namespace switchyard::tools {

DispatchBackend const& cuda_dispatch_backend() {
  throw_error(ErrorCode::unsupported,
              "this build has no CUDA backend: use --backend cpu, or configure with the preset cuda-release (nvcc 13)");
}

}  // namespace switchyard::tools
