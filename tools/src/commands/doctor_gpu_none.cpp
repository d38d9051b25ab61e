// SPDX-License-Identifier: Apache-2.0
// What doctor knows of GPUs in a build without the CUDA backend: nothing.
#include "commands/doctor_facts.hpp"

namespace switchyard::cli {

cuda::SystemReport gather_gpu_facts() {
  return {};
}

}  // namespace switchyard::cli
