// SPDX-License-Identifier: Apache-2.0
// The part of the C interface that moves device memory between ranks.
#include <cuda_runtime_api.h>

#include <chrono>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "c_api_plan.hpp"
#include "c_api_support.hpp"
#include "cuda_error.hpp"
#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"
#include "switchyard/cuda/rebalance.hpp"
#include "switchyard/dispatch/allgather_planner.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/launch/control.hpp"

namespace sy = switchyard;
namespace c_api = switchyard::c_api;

namespace {

/// As SWITCHYARD_CUDA_TRY, whose local variable has the name of a C type here.
void require_cuda(cudaError_t status, char const* call) {
  if (status != cudaSuccess) sy::cuda::throw_cuda_error(status, call, __FILE__, __LINE__);
}

}  // namespace

struct switchyard_group {
  switchyard_group(sy::launch::ControlGroup joined, sy::cuda::NcclHandle handle, sy::cuda::NcclOptions const& options)
      : control(std::move(joined)), comm(std::move(handle), *control.client, options), executor(comm) {
    require_cuda(cudaGetDevice(&device), "cudaGetDevice");
  }

  int device = 0;
  sy::launch::ControlGroup control;
  sy::cuda::NcclCommunicator comm;
  sy::cuda::CudaExecutor executor;
};

namespace switchyard::c_api {
namespace {

/// The group's device is current inside a call, and the caller's again after it.
class OnDevice {
 public:
  explicit OnDevice(switchyard_group const& group) {
    require_cuda(cudaGetDevice(&before_), "cudaGetDevice");
    require_cuda(cudaSetDevice(group.device), "cudaSetDevice");
  }
  ~OnDevice() { static_cast<void>(cudaSetDevice(before_)); }
  OnDevice(OnDevice const&) = delete;
  OnDevice& operator=(OnDevice const&) = delete;

 private:
  int before_ = 0;
};

template <typename Body>
switchyard_status guarded_on(switchyard_group* group, Body const& body) noexcept {
  return guarded([&] {
    require_pointer(group, "group");
    OnDevice const device(*group);
    body();
  });
}

cuda::StreamView stream_of(void* stream) {
  return cuda::StreamView(static_cast<CUstream_st*>(stream));
}

std::optional<Duration> deadline_of(std::int64_t milliseconds) {
  SWITCHYARD_REQUIRE(milliseconds >= 0, invalid_argument, "deadline_ms is {}", milliseconds);
  if (milliseconds == 0) return std::nullopt;
  return std::chrono::milliseconds(milliseconds);
}

launch::LaunchConfig launch_of(switchyard_group_config const& config) {
  if (config.rendezvous == nullptr) return launch::launch_config({}, launch::launch_environment());
  launch::LaunchFlags flags;
  flags.rank = config.rank;
  flags.world_size = config.world_size;
  flags.rendezvous = config.rendezvous;
  return launch::launch_config(flags, {});
}

std::vector<std::byte> no_id() {
  return {};
}

/// Joins the group; a borrowed communicator must be of the same group.
switchyard_group* make_group(switchyard_group_config const& config) {
  auto const place = launch_of(config);
  cuda::NcclOptions options;
  options.default_deadline = deadline_of(config.deadline_ms).value_or(options.default_deadline);
  bool const borrows = config.nccl_comm != nullptr;
  auto control = launch::join_group(place, borrows ? no_id : cuda::make_nccl_id, options.default_deadline);
  auto handle = borrows ? cuda::NcclHandle::borrow(static_cast<ncclComm*>(config.nccl_comm))
                        : cuda::NcclHandle::create(*control.client, options.default_deadline);
  return new switchyard_group(std::move(control), std::move(handle), options);
}

DispatchPlan make_plan(Communicator& comm, switchyard_plan_config const& config, ExpertPlacement const& placement,
                       RoutingMap const& routing) {
  auto const grid = grid_of(config);
  if (config.family == SWITCHYARD_ALLTOALL)
    return plan_alltoall(comm, {.grid = grid}, routing, placement, config.layer);
  if (config.family == SWITCHYARD_FLEX) return plan_flex(comm, {.grid = grid}, routing, placement, config.layer);
  if (config.family != SWITCHYARD_ALLGATHER) refuse_family(config.family);
  return plan_allgather(comm, {.grid = grid}, routing, placement, config.layer);
}

cuda::DevicePlan const& on_device(switchyard_plan& plan) {
  if (plan.on_device == nullptr) plan.on_device = std::make_shared<cuda::DevicePlan>(plan.value);
  return *static_cast<cuda::DevicePlan const*>(plan.on_device.get());
}

TensorView matrix_of(switchyard_matrix const* given, char const* name) {
  auto const matrix = sized(given, name);
  SWITCHYARD_REQUIRE(matrix.dtype >= SWITCHYARD_F32 && matrix.dtype <= SWITCHYARD_F16, unsupported,
                     "{} has dtype {}, which is none of switchyard_dtype", name, matrix.dtype);
  return TensorView(matrix.data, static_cast<DType>(matrix.dtype), {matrix.rows, matrix.columns}, MemorySpace::device);
}
static_assert(static_cast<int>(DType::f32) == SWITCHYARD_F32 && static_cast<int>(DType::f64) == SWITCHYARD_F64 &&
              static_cast<int>(DType::bf16) == SWITCHYARD_BF16 && static_cast<int>(DType::f16) == SWITCHYARD_F16);

CombineRecipe recipe_of(std::int32_t recipe) {
  if (recipe == SWITCHYARD_SOURCE_SLOT_ORDER) return CombineRecipe::source_slot_order();
  if (recipe == SWITCHYARD_RANK_PARTIAL) return CombineRecipe::rank_partial();
  SWITCHYARD_REQUIRE(recipe == SWITCHYARD_EXACT, invalid_argument, "recipe {} is none of switchyard_recipe", recipe);
  return CombineRecipe::exact();
}

RegisteredWeights weights_of(switchyard_weight_tensor const* tensors, std::int32_t count) {
  std::vector<std::vector<WeightTensor>> layers;
  if (count > 0) require_pointer(tensors, "tensors");
  for (std::int32_t i = 0; i < count; ++i) {
    auto const tensor = sized(&tensors[i], "tensors");
    auto const layer = tensor.layer;
    bool const next = std::cmp_equal(layer, layers.size());
    SWITCHYARD_REQUIRE(next || std::cmp_equal(layer + 1, layers.size()), invalid_argument,
                       "tensor {} is of layer {} after {} layers: layers ascend without gaps", i, layer, layers.size());
    if (next) layers.emplace_back();
    std::int64_t const stride = tensor.row_stride_bytes == 0 ? tensor.row_bytes : tensor.row_stride_bytes;
    layers.back().push_back({static_cast<std::byte*>(tensor.base), tensor.row_bytes, stride, tensor.rows});
  }
  return RegisteredWeights(std::move(layers));
}

void migrate(switchyard_group& group, switchyard_migration const& migration, RegisteredWeights const& weights,
             switchyard_migrate_options& options, cuda::StreamView stream) {
  cuda::RebalanceOptions how;
  how.mode = options.layer_by_layer != 0 ? cuda::RebalanceMode::in_place : cuda::RebalanceMode::buffered;
  how.verify_rows = options.skip_checksums == 0;
  how.deadline = deadline_of(options.deadline_ms);
  auto const result = std::visit(
      [&](auto const& plan) {
        return cuda::RebalanceExecutor(plan, how).execute({group.comm, group.comm}, weights, stream);
      },
      migration.value);
  options.bytes_sent = result.bytes_sent;
  options.bytes_received = result.bytes_received;
  options.peak_extra_bytes = result.peak_staging_bytes;
}

}  // namespace
}  // namespace switchyard::c_api

extern "C" {

switchyard_status switchyard_group_create(switchyard_group_config const* config, switchyard_group** out) {
  return c_api::guarded([&] {
    c_api::require_pointer(out, "out");
    *out = c_api::make_group(c_api::sized(config, "config"));
  });
}
void switchyard_group_destroy(switchyard_group* group) {
  delete group;
}

switchyard_status switchyard_group_wait(switchyard_group* group, void* stream) {
  return c_api::guarded_on(group, [&] {
    group->comm.wait(c_api::stream_of(stream));
    group->executor.check(c_api::stream_of(stream));
  });
}

switchyard_status switchyard_plan_create(switchyard_group* group, switchyard_plan_config const* config,
                                         switchyard_placement const* placement, switchyard_routing const* routing,
                                         switchyard_plan** out) {
  return c_api::guarded_on(group, [&] {
    c_api::require_pointer(out, "out");
    c_api::require_pointer(placement, "placement");
    auto const known = c_api::sized(config, "config");
    auto const map = c_api::routing_of(c_api::sized(routing, "routing"));
    *out = new switchyard_plan{c_api::make_plan(group->comm, known, placement->value, map)};
  });
}

switchyard_status switchyard_dispatch(switchyard_group* group, switchyard_plan* plan, switchyard_matrix const* tokens,
                                      switchyard_matrix const* rows, void* stream) {
  return c_api::guarded_on(group, [&] {
    c_api::require_pointer(plan, "plan");
    group->executor.dispatch(c_api::on_device(*plan), c_api::matrix_of(tokens, "tokens"),
                             c_api::matrix_of(rows, "rows"), c_api::stream_of(stream));
  });
}

switchyard_status switchyard_combine(switchyard_group* group, switchyard_plan* plan, int32_t recipe,
                                     switchyard_matrix const* expert_rows, switchyard_matrix const* weights,
                                     switchyard_matrix const* out, void* stream) {
  return c_api::guarded_on(group, [&] {
    c_api::require_pointer(plan, "plan");
    sy::cuda::CombineInputs inputs;
    inputs.weights = c_api::matrix_of(weights, "weights");
    group->executor.combine(c_api::on_device(*plan), c_api::recipe_of(recipe),
                            c_api::matrix_of(expert_rows, "expert_rows"), inputs, c_api::matrix_of(out, "out"),
                            c_api::stream_of(stream));
  });
}

switchyard_status switchyard_migrate(switchyard_group* group, switchyard_migration const* migration,
                                     switchyard_weight_tensor const* tensors, int32_t num_tensors,
                                     switchyard_migrate_options* options, void* stream) {
  return c_api::guarded_on(group, [&] {
    c_api::require_pointer(migration, "migration");
    static_cast<void>(c_api::sized(options, "options"));
    c_api::migrate(*group, *migration, c_api::weights_of(tensors, num_tensors), *options, c_api::stream_of(stream));
  });
}

}  // extern "C"
