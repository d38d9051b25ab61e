// SPDX-License-Identifier: Apache-2.0
// The part of the C interface that needs NCCL, in a build without it: every call is refused by name.
#include "c_api_support.hpp"

namespace {

switchyard_status refuse() noexcept {
  return switchyard::c_api::fail(SWITCHYARD_UNSUPPORTED,
                                 "unsupported: this build has no CUDA or no NCCL, so it cannot move device memory: "
                                 "configure with nvcc 13 and NCCL 2.28, or use the offline functions");
}

}  // namespace

struct switchyard_group {};

extern "C" {

switchyard_status switchyard_group_create(switchyard_group_config const*, switchyard_group**) {
  return refuse();
}
void switchyard_group_destroy(switchyard_group* group) {
  delete group;
}
switchyard_status switchyard_group_wait(switchyard_group*, void*) {
  return refuse();
}
switchyard_status switchyard_plan_create(switchyard_group*, switchyard_plan_config const*, switchyard_placement const*,
                                         switchyard_routing const*, switchyard_plan**) {
  return refuse();
}
switchyard_status switchyard_dispatch(switchyard_group*, switchyard_plan*, switchyard_matrix const*,
                                      switchyard_matrix const*, void*) {
  return refuse();
}
switchyard_status switchyard_combine(switchyard_group*, switchyard_plan*, int32_t, switchyard_matrix const*,
                                     switchyard_matrix const*, switchyard_matrix const*, void*) {
  return refuse();
}
switchyard_status switchyard_migrate(switchyard_group*, switchyard_migration const*, switchyard_weight_tensor const*,
                                     int32_t, switchyard_migrate_options*, void*) {
  return refuse();
}

}  // extern "C"
