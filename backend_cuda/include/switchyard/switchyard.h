/* SPDX-License-Identifier: Apache-2.0 */
/* The flat C interface: plan, dispatch, combine and migrate behind opaque handles. docs/c-abi.md explains it.
 *
 * Every function that can fail returns a status; switchyard_last_error() has the text. Nothing throws, prints or
 * exits. Structs begin with their size: zero the struct, set struct_size = sizeof it, fill in the rest; a zero is every
 * field's default. Device pointers are raw, streams are cudaStream_t, communicators are ncclComm_t, all passed as
 * void *. A handle belongs to one thread at a time. */
#ifndef SWITCHYARD_SWITCHYARD_H
#define SWITCHYARD_SWITCHYARD_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SWITCHYARD_C_API_VERSION 1

/* The library's error codes plus one; append only. */
typedef enum switchyard_status {
  SWITCHYARD_OK = 0,
  SWITCHYARD_INVALID_ARGUMENT = 1,
  SWITCHYARD_SHAPE_MISMATCH = 2,
  SWITCHYARD_INVALID_PLACEMENT = 3,
  SWITCHYARD_INVALID_PLAN = 4,
  SWITCHYARD_MISSING_SOURCE = 5,
  SWITCHYARD_SPLIT_MISMATCH = 6,
  SWITCHYARD_DESYNC = 7,
  SWITCHYARD_TIMEOUT = 8,
  SWITCHYARD_ABORTED = 9,
  SWITCHYARD_CORRUPT_DATA = 10,
  SWITCHYARD_PARSE = 11,
  SWITCHYARD_IO = 12,
  SWITCHYARD_UNSUPPORTED = 13,
  SWITCHYARD_OUT_OF_MEMORY = 14,
  SWITCHYARD_CUDA = 15,
  SWITCHYARD_NCCL = 16,
  SWITCHYARD_INTERNAL = 17
} switchyard_status;

/* Static text: "0.1.0", "split_mismatch" ("ok" for SWITCHYARD_OK, "unknown" for other numbers). */
const char *switchyard_version(void);
const char *switchyard_status_name(switchyard_status status);
/* Text of this thread's last failed call; valid until its next failure. Never null; long texts are cut. */
const char *switchyard_last_error(void);

/* Which expert every slot of every layer holds. */
typedef struct switchyard_placement switchyard_placement;
typedef struct switchyard_placement_config {
  size_t struct_size;
  int32_t num_layers;
  int32_t num_experts;
  int32_t num_ranks;
  int32_t reserved;              /* 0 */
  const int32_t *slots_per_rank; /* [num_ranks], or null: contiguous experts, slot i holds expert i */
  const int32_t *slot_to_expert; /* [num_layers * sum of slots_per_rank], -1 = empty; null with slots_per_rank null */
} switchyard_placement_config;
switchyard_status switchyard_placement_create(const switchyard_placement_config *config, switchyard_placement **out);
void switchyard_placement_destroy(switchyard_placement *placement);

/* The ranks, one handle each: the caller's ncclComm_t, and a TCP control channel over which calls are compared. */
typedef struct switchyard_group switchyard_group;
typedef struct switchyard_group_config {
  size_t struct_size;
  void *nccl_comm;        /* ncclComm_t that outlives the group; null: the group makes its own, on the current device */
  const char *rendezvous; /* "host:port" or "file:/shared/path" of rank 0; null: rank, world size and place are taken
                             from the launcher's variables (docs/gpu.md) */
  int32_t rank;           /* with rendezvous */
  int32_t world_size;     /* with rendezvous */
  int64_t deadline_ms;    /* of every collective; 0 = 60,000 */
} switchyard_group_config;
/* Collective. The device that is current stays the group's device. SWITCHYARD_UNSUPPORTED in a build without NCCL. */
switchyard_status switchyard_group_create(const switchyard_group_config *config, switchyard_group **out);
void switchyard_group_destroy(switchyard_group *group);
/* Waits for the stream under the group's deadline and reports what kernels found, e.g. a NaN weight. */
switchyard_status switchyard_group_wait(switchyard_group *group, void *stream);

/* One rank's choices, host memory: ids [num_tokens * top_k] in [-1, num_experts), weights likewise. */
typedef struct switchyard_routing {
  size_t struct_size;
  int64_t num_tokens;
  int32_t num_experts;
  int32_t top_k;
  const int32_t *ids;
  const float *weights;
} switchyard_routing;

typedef enum switchyard_family {
  SWITCHYARD_ALLTOALL = 0, /* every row travels to its expert */
  SWITCHYARD_FLEX = 1,     /* every token travels once to every rank that needs it */
  SWITCHYARD_ALLGATHER = 2 /* every token travels to every rank */
} switchyard_family;

typedef struct switchyard_plan switchyard_plan;
typedef struct switchyard_plan_config {
  size_t struct_size;
  int32_t family; /* switchyard_family */
  int32_t tp;     /* tensor-parallel ranks per expert; 0 = 1 */
  int32_t ep;     /* expert-parallel ranks; world = tp * ep */
  int32_t layer;
} switchyard_plan_config;
/* Collective: this rank's plan. Placement and routing are copied. */
switchyard_status switchyard_plan_create(switchyard_group *group, const switchyard_plan_config *config,
                                         const switchyard_placement *placement, const switchyard_routing *routing,
                                         switchyard_plan **out);
/* The same plan from all ranks' routings, without a group or a GPU. num_routings = tp * ep. */
switchyard_status switchyard_plan_offline(const switchyard_plan_config *config, const switchyard_placement *placement,
                                          const switchyard_routing *routings, int32_t num_routings, int32_t rank,
                                          switchyard_plan **out);
void switchyard_plan_destroy(switchyard_plan *plan);

typedef struct switchyard_plan_info {
  size_t struct_size;
  int64_t num_tokens;
  int64_t slot_columns; /* columns of the weights: top_k */
  int64_t num_expert_rows;
  int64_t num_local_experts;
  uint64_t fingerprint;
} switchyard_plan_info;
switchyard_status switchyard_plan_get_info(const switchyard_plan *plan, switchyard_plan_info *info);
/* counts [num_local_experts]: rows of each local expert, in the order of the rows. */
switchyard_status switchyard_plan_rows_per_expert(const switchyard_plan *plan, int64_t *counts, int64_t num_counts);

typedef enum switchyard_dtype { SWITCHYARD_F32 = 0, SWITCHYARD_F64 = 1, SWITCHYARD_BF16 = 2, SWITCHYARD_F16 = 3 }
    switchyard_dtype;
/* A contiguous matrix in device memory. */
typedef struct switchyard_matrix {
  size_t struct_size;
  void *data;
  int64_t rows;
  int64_t columns;
  int32_t dtype; /* switchyard_dtype */
  int32_t reserved;
} switchyard_matrix;

typedef enum switchyard_recipe {
  SWITCHYARD_SOURCE_SLOT_ORDER = 0,
  SWITCHYARD_RANK_PARTIAL = 1,
  SWITCHYARD_EXACT = 2
} switchyard_recipe;

/* Collective, issued to the stream. tokens [num_tokens, H], rows [num_expert_rows, H] of the same dtype. */
switchyard_status switchyard_dispatch(switchyard_group *group, switchyard_plan *plan, const switchyard_matrix *tokens,
                                      const switchyard_matrix *rows, void *stream);
/* expert_rows [num_expert_rows, H], weights [num_tokens, slot_columns] f32 or f64, out [num_tokens, H]. */
switchyard_status switchyard_combine(switchyard_group *group, switchyard_plan *plan, int32_t recipe,
                                     const switchyard_matrix *expert_rows, const switchyard_matrix *weights,
                                     const switchyard_matrix *out, void *stream);

/* How one placement becomes another. */
typedef struct switchyard_migration switchyard_migration;
typedef struct switchyard_migration_config {
  size_t struct_size;
  int32_t scheduled;  /* 0: vLLM's transfer plan; 1: rounds that keep ports and spare rows bounded */
  int32_t spare_rows; /* scheduled: rows of extra memory per rank; 0 = as many as slots (then a failure leaves before) */
} switchyard_migration_config;
switchyard_status switchyard_migration_create(const switchyard_migration_config *config,
                                              const switchyard_placement *before, const switchyard_placement *after,
                                              switchyard_migration **out);
/* A plan or schedule file's text, as the program `switchyard` writes it. */
switchyard_status switchyard_migration_from_json(const char *text, size_t length, switchyard_migration **out);
void switchyard_migration_destroy(switchyard_migration *migration);

typedef struct switchyard_migration_info {
  size_t struct_size;
  int64_t transfers; /* expert rows that cross ranks, all layers */
  int64_t copies;    /* copies inside ranks that the lists name */
  uint64_t fingerprint;
} switchyard_migration_info;
switchyard_status switchyard_migration_get_info(const switchyard_migration *migration, switchyard_migration_info *info);

/* One tensor of one layer in device memory: row i belongs to this rank's slot i. */
typedef struct switchyard_weight_tensor {
  size_t struct_size;
  int32_t layer; /* ascending in the array; every layer has one at least */
  int32_t reserved;
  void *base;
  int64_t row_bytes;
  int64_t row_stride_bytes; /* 0 = row_bytes */
  int64_t rows;
} switchyard_weight_tensor;
typedef struct switchyard_migrate_options {
  size_t struct_size;
  int32_t layer_by_layer;  /* 0: all layers change together, needs memory for all; 1: each on its own */
  int32_t skip_checksums;  /* 0: rows carry checksums */
  int64_t deadline_ms;     /* 0 = the group's */
  int64_t bytes_sent;      /* out */
  int64_t bytes_received;  /* out */
  int64_t peak_extra_bytes; /* out: device memory beside the weights */
} switchyard_migrate_options;
/* Collective: moves the rows after the stream's work; on return they are written. */
switchyard_status switchyard_migrate(switchyard_group *group, const switchyard_migration *migration,
                                     const switchyard_weight_tensor *tensors, int32_t num_tensors,
                                     switchyard_migrate_options *options, void *stream);

#ifdef __cplusplus
}
#endif

#endif /* SWITCHYARD_SWITCHYARD_H */
