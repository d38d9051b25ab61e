/* SPDX-License-Identifier: Apache-2.0 */
/* A consumer in C: plans, migrations and errors without a GPU.
 *
 * By hand: 2 ranks, 4 experts, so rank 0 holds 0 and 1. Rank 0's tokens choose (0, 2) and (3, 1); rank 1's token (0, 1).
 * Rank 0 receives for expert 0: one row each of rank 0 and rank 1; for expert 1 likewise: counts 2 and 2.
 * Migration (0, 1 | 2, 3) to (2, 1 | 0, 3): experts 0 and 2 travel, 2 transfers. */
#include <stdio.h>
#include <string.h>

#include "switchyard/switchyard.h"

static int failures = 0;

static void expect(int holds, const char *text) {
  if (holds) return;
  ++failures;
  printf("FAILED %s; last error: %s\n", text, switchyard_last_error());
}

static switchyard_placement *contiguous(void) {
  switchyard_placement_config config;
  switchyard_placement *placement = NULL;
  memset(&config, 0, sizeof config);
  config.struct_size = sizeof config;
  config.num_layers = 1;
  config.num_experts = 4;
  config.num_ranks = 2;
  expect(switchyard_placement_create(&config, &placement) == SWITCHYARD_OK, "a contiguous placement");
  return placement;
}

static switchyard_placement *permuted(int32_t first) {
  const int32_t slots[2] = {2, 2};
  int32_t experts[4] = {0, 1, 0, 3};
  switchyard_placement_config config;
  switchyard_placement *placement = NULL;
  memset(&config, 0, sizeof config);
  config.struct_size = sizeof config;
  config.num_layers = 1;
  config.num_experts = 4;
  config.num_ranks = 2;
  config.slots_per_rank = slots;
  config.slot_to_expert = experts;
  experts[0] = first;
  if (first < 4) {
    expect(switchyard_placement_create(&config, &placement) == SWITCHYARD_OK, "a permuted placement");
  } else {
    expect(switchyard_placement_create(&config, &placement) == SWITCHYARD_INVALID_PLACEMENT, "an unknown expert");
    expect(strstr(switchyard_last_error(), "invalid_placement") != NULL, "the text names the code");
  }
  return placement;
}

static void check_plan(int32_t family, const int32_t *first_ids, switchyard_status wanted) {
  static const int32_t second_ids[2] = {0, 1};
  static const float weights[4] = {0.5F, 0.5F, 0.25F, 0.75F};
  switchyard_placement *placement = contiguous();
  switchyard_routing routings[2];
  switchyard_plan_config config;
  switchyard_plan *plan = NULL;
  switchyard_plan_info info;
  int64_t counts[2] = {-1, -1};
  memset(routings, 0, sizeof routings);
  memset(&config, 0, sizeof config);
  memset(&info, 0, sizeof info);
  config.struct_size = sizeof config;
  config.family = family;
  config.ep = 2;
  info.struct_size = sizeof info;
  routings[0].struct_size = routings[1].struct_size = sizeof routings[0];
  routings[0].num_tokens = 2;
  routings[1].num_tokens = 1;
  routings[0].num_experts = routings[1].num_experts = 4;
  routings[0].top_k = routings[1].top_k = 2;
  routings[0].ids = first_ids;
  routings[1].ids = second_ids;
  routings[0].weights = routings[1].weights = weights;
  expect(switchyard_plan_offline(&config, placement, routings, 2, 0, &plan) == wanted, "planning offline");
  if (wanted == SWITCHYARD_OK && plan != NULL) {
    expect(switchyard_plan_get_info(plan, &info) == SWITCHYARD_OK, "a plan's facts");
    expect(info.num_tokens == 2 && info.slot_columns == 2 && info.num_expert_rows == 4, "tokens, columns, rows");
    expect(info.num_local_experts == 2 && info.fingerprint != 0, "local experts, fingerprint");
    expect(switchyard_plan_rows_per_expert(plan, counts, 2) == SWITCHYARD_OK, "rows per expert");
    expect(counts[0] == 2 && counts[1] == 2, "2 rows for each local expert");
    expect(switchyard_plan_rows_per_expert(plan, counts, 3) == SWITCHYARD_SHAPE_MISMATCH, "another number of counts");
  }
  switchyard_plan_destroy(plan);
  switchyard_placement_destroy(placement);
}

static void check_migrations(void) {
  switchyard_placement *before = contiguous();
  switchyard_placement *after = permuted(2);
  int32_t scheduled = 0;
  for (scheduled = 0; scheduled < 2; ++scheduled) {
    switchyard_migration_config config;
    switchyard_migration *migration = NULL;
    switchyard_migration_info info;
    memset(&config, 0, sizeof config);
    memset(&info, 0, sizeof info);
    config.struct_size = sizeof config;
    config.scheduled = scheduled;
    info.struct_size = sizeof info;
    expect(switchyard_migration_create(&config, before, after, &migration) == SWITCHYARD_OK, "a migration");
    expect(switchyard_migration_get_info(migration, &info) == SWITCHYARD_OK, "a migration's facts");
    expect(info.transfers == 2 && info.fingerprint != 0, "2 transfers");
    switchyard_migration_destroy(migration);
  }
  switchyard_placement_destroy(before);
  switchyard_placement_destroy(after);
}

static void check_errors(void) {
  union {
    switchyard_placement_config config;
    char bytes[sizeof(switchyard_placement_config) + 8];
  } newer;
  switchyard_placement *placement = NULL;
  switchyard_migration *migration = NULL;
  memset(&newer, 0, sizeof newer);
  newer.config.num_layers = 1;
  newer.config.num_experts = 1;
  newer.config.num_ranks = 1;
  expect(switchyard_placement_create(&newer.config, &placement) == SWITCHYARD_INVALID_ARGUMENT, "no struct_size");
  newer.config.struct_size = sizeof newer;
  expect(switchyard_placement_create(&newer.config, &placement) == SWITCHYARD_OK, "a newer struct with zeros behind");
  switchyard_placement_destroy(placement);
  newer.bytes[sizeof newer - 1] = 1;
  expect(switchyard_placement_create(&newer.config, &placement) == SWITCHYARD_UNSUPPORTED, "a newer struct's field");
  expect(switchyard_placement_create(NULL, &placement) == SWITCHYARD_INVALID_ARGUMENT, "a null config");
  expect(strstr(switchyard_last_error(), "config is null") != NULL, "the text names the argument");
  expect(switchyard_migration_from_json("{}", 2, &migration) == SWITCHYARD_PARSE, "a text that is no plan");
  expect(switchyard_dispatch(NULL, NULL, NULL, NULL, NULL) != SWITCHYARD_OK, "a null group");
  expect(strcmp(switchyard_status_name(SWITCHYARD_SPLIT_MISMATCH), "split_mismatch") == 0, "a status name");
  expect(strcmp(switchyard_status_name(SWITCHYARD_INTERNAL), "internal") == 0, "the last status name");
  expect(strcmp(switchyard_status_name((switchyard_status)99), "unknown") == 0, "an unknown status");
  (void)permuted(4);
}

int main(void) {
  static const int32_t good[4] = {0, 2, 3, 1};
  static const int32_t bad[4] = {0, 2, 4, 1};
  check_plan(SWITCHYARD_ALLTOALL, good, SWITCHYARD_OK);
  check_plan(SWITCHYARD_FLEX, good, SWITCHYARD_OK);
  check_plan(SWITCHYARD_ALLGATHER, good, SWITCHYARD_OK);
  check_plan(SWITCHYARD_ALLTOALL, bad, SWITCHYARD_INVALID_ARGUMENT);
  check_plan(7, good, SWITCHYARD_INVALID_ARGUMENT);
  check_migrations();
  check_errors();
  printf("switchyard %s from C: %d failures\n", switchyard_version(), failures);
  return failures == 0 ? 0 : 1;
}
