// SPDX-License-Identifier: Apache-2.0
// What doctor knows of GPUs in a build with the CUDA backend.
#include "commands/doctor_facts.hpp"

namespace switchyard::cli {

cuda::SystemReport gather_gpu_facts() {
  return cuda::system_report();
}

}  // namespace switchyard::cli
