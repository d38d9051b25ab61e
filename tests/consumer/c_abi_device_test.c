/* SPDX-License-Identifier: Apache-2.0 */
/* A consumer in C on GPUs: the caller's ncclComm_t and stream, dispatch, combine, a migration, errors. Exit 0 when all
 * is as expected, 1 when not, 77 without a GPU. One rank by itself; several with RANK, WORLD_SIZE and LOCAL_RANK, one
 * process each, and NCCL_COMM_ID, from which every rank has NCCL's id and, at the port after it, the library's control
 * channel.
 *
 * By hand, ranks r of W in a ring, s the one after r and p the one before: rank r holds experts 2r and 2r + 1, its
 * token rows are 10r + 3 and 10r + 4, its choices (2s, 2s + 1) and (2s + 1, none), its weights 2, 5 and 7. Its rows by
 * expert are p's: 10p + 3 | 10p + 3, 10p + 4. The experts change nothing, so combine gives 7 (10r + 3) and 7 (10r + 4):
 * 21 and 28 for one rank. Weight rows are 10 + the expert. The migration gives rank r the experts 2s + 1 and 2s: for
 * one rank 10 and 11 become 11 and 10. */
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "switchyard/switchyard.h"

#define MOST_RANKS 64

static int failures = 0;
static int own = 0;   /* this rank */
static int world = 1; /* of so many */

/* The neighbours in the ring. */
static int after(void) {
  return (own + 1) % world;
}
static int before(void) {
  return (own + world - 1) % world;
}

static int number_of(const char *name, int otherwise) {
  const char *text = getenv(name);
  return text == NULL ? otherwise : (int)strtol(text, NULL, 10);
}

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

/* Every rank holds the two experts of the rank `shift` further on, the second one first with `turned`. */
static switchyard_placement *place(int shift, int turned) {
  int32_t slots[MOST_RANKS];
  int32_t experts[2 * MOST_RANKS];
  switchyard_placement_config config;
  switchyard_placement *placement = NULL;
  int rank;
  for (rank = 0; rank < world; ++rank) {
    const int holder = (rank + shift) % world;
    slots[rank] = 2;
    experts[2 * rank] = 2 * holder + turned;
    experts[2 * rank + 1] = 2 * holder + 1 - turned;
  }
  memset(&config, 0, sizeof config);
  config.struct_size = sizeof config;
  config.num_layers = 1;
  config.num_experts = 2 * world;
  config.num_ranks = world;
  config.slots_per_rank = slots;
  config.slot_to_expert = experts;
  expect(switchyard_placement_create(&config, &placement) == SWITCHYARD_OK, "a placement");
  return placement;
}

static void check_step(switchyard_group *group, switchyard_plan *plan, cudaStream_t stream) {
  static const float weights[4] = {2, 5, 7, 0};
  const float first = (float)(10 * own + 3);
  const float received = (float)(10 * before() + 3);
  const float tokens[2] = {first, first + 1};
  const float rows[3] = {received, received, received + 1};
  const float sums[2] = {7 * first, 7 * (first + 1)};
  static const float poison[3] = {-1, -1, -1};
  float *in = upload(tokens, 2);
  float *at_experts = upload(poison, 3);
  float *scale = upload(weights, 4);
  float *out = upload(poison, 2);
  const switchyard_matrix token_view = matrix(in, 2, 1);
  const switchyard_matrix row_view = matrix(at_experts, 3, 1);
  const switchyard_matrix weight_view = matrix(scale, 2, 2);
  const switchyard_matrix out_view = matrix(out, 2, 1);
  const switchyard_matrix short_view = matrix(at_experts, 2, 1);
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
  const int32_t ids[4] = {2 * after(), 2 * after() + 1, 2 * after() + 1, -1};
  static const float weights[4] = {2, 5, 7, 0};
  switchyard_placement *placement = place(0, 0);
  switchyard_routing routing;
  switchyard_plan_config config;
  switchyard_plan *plan = NULL;
  memset(&routing, 0, sizeof routing);
  memset(&config, 0, sizeof config);
  routing.struct_size = sizeof routing;
  routing.num_tokens = 2;
  routing.num_experts = 2 * world;
  routing.top_k = 2;
  routing.ids = ids;
  routing.weights = weights;
  config.struct_size = sizeof config;
  config.ep = world;
  expect(switchyard_plan_create(group, &config, placement, &routing, &plan) == SWITCHYARD_OK, "a plan");
  if (plan != NULL) check_step(group, plan, stream);
  switchyard_plan_destroy(plan);
  switchyard_placement_destroy(placement);
}

static void check_migration(switchyard_group *group, cudaStream_t stream) {
  const float held[2] = {(float)(10 + 2 * own), (float)(11 + 2 * own)};
  const float wanted[2] = {(float)(11 + 2 * after()), (float)(10 + 2 * after())};
  float *rows = upload(held, 2);
  switchyard_placement *from = place(0, 0);
  switchyard_placement *to = place(1, 1);
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
  expect_values(rows, wanted, 2, "the weight rows");
  expect(options.bytes_sent == (world == 1 ? 0 : 8) && options.bytes_received == options.bytes_sent &&
             options.peak_extra_bytes >= 8,
         "what the migration reports");
  switchyard_migration_destroy(migration);
  switchyard_placement_destroy(from);
  switchyard_placement_destroy(to);
  (void)cudaFree(rows);
}

/* The caller's communicator: of this process alone, or of all ranks. */
static ncclComm_t make_comm(void) {
  ncclComm_t comm = NULL;
  ncclUniqueId id;
  if (world == 1) {
    expect(ncclCommInitAll(&comm, 1, NULL) == ncclSuccess, "the caller's communicator");
    return comm;
  }
  expect(getenv("NCCL_COMM_ID") != NULL, "NCCL_COMM_ID, from which all ranks have one id");
  expect(ncclGetUniqueId(&id) == ncclSuccess, "NCCL's id");
  expect(ncclCommInitRank(&comm, world, id, own) == ncclSuccess, "the caller's communicator of all ranks");
  return comm;
}

static switchyard_group *make_group(ncclComm_t comm) {
  switchyard_group_config config;
  switchyard_group *group = NULL;
  memset(&config, 0, sizeof config);
  config.struct_size = sizeof config;
  config.nccl_comm = comm;
  config.deadline_ms = 30000;
  config.rendezvous = world == 1 ? "127.0.0.1:29516" : NULL; /* null: the launcher's variables */
  config.world_size = world == 1 ? 1 : 0;
  expect(switchyard_group_create(&config, &group) == SWITCHYARD_OK, "a group");
  return group;
}

int main(void) {
  ncclComm_t comm;
  cudaStream_t stream = NULL;
  switchyard_group *group;
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    printf("skipped: no CUDA device on this machine\n");
    return 77;
  }
  own = number_of("RANK", 0);
  world = number_of("WORLD_SIZE", 1);
  if (world < 1 || world > MOST_RANKS || own < 0 || own >= world) {
    printf("FAILED: rank %d of %d: 1 to %d ranks\n", own, world, MOST_RANKS);
    return 1;
  }
  expect(cudaSetDevice(number_of("LOCAL_RANK", own) % devices) == cudaSuccess, "the device of this rank");
  comm = make_comm();
  expect(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess, "the caller's stream");
  group = make_group(comm);
  if (group != NULL) {
    check_plan(group, stream);
    check_migration(group, stream);
  }
  switchyard_group_destroy(group);
  (void)cudaStreamDestroy(stream);
  (void)ncclCommDestroy(comm);
  printf("switchyard %s from C on a GPU, rank %d of %d: %d failures\n", switchyard_version(), own, world, failures);
  return failures == 0 ? 0 : 1;
}
