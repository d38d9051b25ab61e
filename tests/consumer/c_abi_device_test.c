/* SPDX-License-Identifier: Apache-2.0 */
/* A consumer in C on a GPU: the caller's ncclComm_t and stream, dispatch, combine, a migration, an error. Exit 0 when all
 * is as expected, 1 when not, 77 without a GPU.
 *
 * By hand, one rank with experts 0 and 1: token rows 3 and 4, choices (0, 1) and (1, none), weights 2, 5 and 7. Rows by
 * expert: 3 | 3, 4. The experts change nothing, so combine gives 2 * 3 + 5 * 3 = 21 and 7 * 4 = 28. The migration
 * changes (0, 1) to (1, 0): weight rows 10 and 11 become 11 and 10. */
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdio.h>
#include <string.h>

#include "switchyard/switchyard.h"

static int failures = 0;

static void expect(int holds, const char *text) {
  if (holds) return;
  ++failures;
  printf("FAILED %s; last error: %s\n", text, switchyard_last_error());
}

/* Device memory that holds the floats. */
static float *upload(const float *values, size_t count) {
  void *memory = NULL;
  expect(cudaMalloc(&memory, count * sizeof(float)) == cudaSuccess, "device memory");
  expect(cudaMemcpy(memory, values, count * sizeof(float), cudaMemcpyHostToDevice) == cudaSuccess, "an upload");
  expect(cudaDeviceSynchronize() == cudaSuccess, "an upload that other streams see");
  return (float *)memory;
}

static void expect_values(const float *memory, const float *wanted, size_t count, const char *text) {
  float found[4] = {0};
  expect(cudaMemcpy(found, memory, count * sizeof(float), cudaMemcpyDeviceToHost) == cudaSuccess, "a download");
  expect(memcmp(found, wanted, count * sizeof(float)) == 0, text);
}

static switchyard_matrix matrix(float *data, int64_t rows, int64_t columns) {
  switchyard_matrix view;
  memset(&view, 0, sizeof view);
  view.struct_size = sizeof view;
  view.data = data;
  view.rows = rows;
  view.columns = columns;
  view.dtype = SWITCHYARD_F32;
  return view;
}

static switchyard_placement *place(int32_t first, int32_t second) {
  const int32_t slots[1] = {2};
  int32_t experts[2];
  switchyard_placement_config config;
  switchyard_placement *placement = NULL;
  experts[0] = first;
  experts[1] = second;
  memset(&config, 0, sizeof config);
  config.struct_size = sizeof config;
  config.num_layers = 1;
  config.num_experts = 2;
  config.num_ranks = 1;
  config.slots_per_rank = slots;
  config.slot_to_expert = experts;
  expect(switchyard_placement_create(&config, &placement) == SWITCHYARD_OK, "a placement");
  return placement;
}

static void check_step(switchyard_group *group, switchyard_plan *plan, cudaStream_t stream) {
  static const float tokens[2] = {3, 4};
  static const float weights[4] = {2, 5, 7, 0};
  static const float rows[3] = {3, 3, 4};
  static const float sums[2] = {21, 28};
  static const float poison[3] = {-1, -1, -1};
  float *in = upload(tokens, 2);
  float *at_experts = upload(poison, 3);
  float *scale = upload(weights, 4);
  float *out = upload(poison, 2);
  switchyard_matrix const token_view = matrix(in, 2, 1);
  switchyard_matrix const row_view = matrix(at_experts, 3, 1);
  switchyard_matrix const weight_view = matrix(scale, 2, 2);
  switchyard_matrix const out_view = matrix(out, 2, 1);
  switchyard_matrix const short_view = matrix(at_experts, 2, 1);
  expect(switchyard_dispatch(group, plan, &token_view, &row_view, stream) == SWITCHYARD_OK, "dispatch");
  expect(switchyard_combine(group, plan, SWITCHYARD_SOURCE_SLOT_ORDER, &row_view, &weight_view, &out_view, stream) ==
             SWITCHYARD_OK,
         "combine");
  expect(switchyard_group_wait(group, stream) == SWITCHYARD_OK, "waiting");
  expect_values(at_experts, rows, 3, "the experts' rows");
  expect_values(out, sums, 2, "the sums");
  expect(switchyard_combine(group, plan, 99, &row_view, &weight_view, &out_view, stream) == SWITCHYARD_INVALID_ARGUMENT,
         "an unknown recipe");
  expect(switchyard_dispatch(group, plan, &token_view, &short_view, stream) == SWITCHYARD_SHAPE_MISMATCH,
         "too few rows");
  (void)cudaFree(in);
  (void)cudaFree(at_experts);
  (void)cudaFree(scale);
  (void)cudaFree(out);
}

static void check_plan(switchyard_group *group, cudaStream_t stream) {
  static const int32_t ids[4] = {0, 1, 1, -1};
  static const float weights[4] = {2, 5, 7, 0};
  switchyard_placement *placement = place(0, 1);
  switchyard_routing routing;
  switchyard_plan_config config;
  switchyard_plan *plan = NULL;
  memset(&routing, 0, sizeof routing);
  memset(&config, 0, sizeof config);
  routing.struct_size = sizeof routing;
  routing.num_tokens = 2;
  routing.num_experts = 2;
  routing.top_k = 2;
  routing.ids = ids;
  routing.weights = weights;
  config.struct_size = sizeof config;
  config.ep = 1;
  expect(switchyard_plan_create(group, &config, placement, &routing, &plan) == SWITCHYARD_OK, "a plan");
  if (plan != NULL) check_step(group, plan, stream);
  switchyard_plan_destroy(plan);
  switchyard_placement_destroy(placement);
}

static void check_migration(switchyard_group *group, cudaStream_t stream) {
  static const float before[2] = {10, 11};
  static const float after[2] = {11, 10};
  float *rows = upload(before, 2);
  switchyard_placement *from = place(0, 1);
  switchyard_placement *to = place(1, 0);
  switchyard_migration_config config;
  switchyard_migration *migration = NULL;
  switchyard_weight_tensor tensor;
  switchyard_migrate_options options;
  memset(&config, 0, sizeof config);
  memset(&tensor, 0, sizeof tensor);
  memset(&options, 0, sizeof options);
  config.struct_size = sizeof config;
  tensor.struct_size = sizeof tensor;
  tensor.base = rows;
  tensor.row_bytes = sizeof(float);
  tensor.rows = 2;
  options.struct_size = sizeof options;
  expect(switchyard_migration_create(&config, from, to, &migration) == SWITCHYARD_OK, "a migration");
  expect(switchyard_migrate(group, migration, &tensor, 1, &options, stream) == SWITCHYARD_OK, "migrating");
  expect(switchyard_group_wait(group, stream) == SWITCHYARD_OK, "waiting for the rows");
  expect_values(rows, after, 2, "the weight rows");
  expect(options.bytes_sent == 0 && options.peak_extra_bytes >= 8, "what the migration reports");
  switchyard_migration_destroy(migration);
  switchyard_placement_destroy(from);
  switchyard_placement_destroy(to);
  (void)cudaFree(rows);
}

int main(void) {
  ncclComm_t comm = NULL;
  cudaStream_t stream = NULL;
  switchyard_group_config config;
  switchyard_group *group = NULL;
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    printf("skipped: no CUDA device on this machine\n");
    return 77;
  }
  expect(ncclCommInitAll(&comm, 1, NULL) == ncclSuccess, "the caller's communicator");
  expect(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess, "the caller's stream");
  memset(&config, 0, sizeof config);
  config.struct_size = sizeof config;
  config.nccl_comm = comm;
  config.rendezvous = "127.0.0.1:29516";
  config.world_size = 1;
  config.deadline_ms = 30000;
  expect(switchyard_group_create(&config, &group) == SWITCHYARD_OK, "a group");
  if (group != NULL) {
    check_plan(group, stream);
    check_migration(group, stream);
  }
  switchyard_group_destroy(group);
  (void)cudaStreamDestroy(stream);
  (void)ncclCommDestroy(comm);
  printf("switchyard %s from C on a GPU: %d failures\n", switchyard_version(), failures);
  return failures == 0 ? 0 : 1;
}
