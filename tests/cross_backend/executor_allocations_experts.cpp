// SPDX-License-Identifier: Apache-2.0
// The exact engine's part: tables of weights and a workspace that find no memory, and the engine that goes on.
//
// By hand: 139 rows of 4 experts, the second of which has none. An engine makes no memory of its own; the first failure
// is that of the weights' tables.
#include <memory>
#include <random>

#include "allocation_faults.hpp"
#include "cuda_engine_cases.hpp"
#include "executor_allocations.hpp"
#include "poisoned.hpp"
#include "switchyard/cpu/experts.hpp"
#include "switchyard/cuda/experts.hpp"

namespace cross_backend {

namespace cpu = switchyard::cpu;

void check_expert_allocations(PairReport& report) {
  EngineCase const c{"experts", mlp_of(40, 24, 4, DType::bf16), kStandard, 139};
  std::mt19937_64 random(3);
  Operands const operands(c, random);
  Bytes expected(static_cast<std::size_t>(c.rows * c.mlp.hidden * 2));
  switchyard::ExpertCall call;
  call.rows = operands.rows.view();
  call.blocks = c.blocks;
  call.weights = host_weights(operands.part, true);
  call.output = TensorView(expected.data(), output_dtype(c.mlp), {c.rows, c.mlp.hidden});
  cpu::ExactExperts const engine(c.mlp);
  switchyard::WorkspaceMemory workspace;
  engine.apply(call, workspace.reserve(engine.workspace_bytes(c.rows)));

  cuda::Stream const stream;
  DeviceOperands const weights(operands.part, stream);
  DeviceMatrix const rows(operands.rows, stream);
  DeviceMatrix const output(output_dtype(c.mlp), c.rows, c.mlp.hidden, stream);
  auto const blocks = cuda::upload(c.blocks, stream);
  fail_each_allocation(
      report, "weights and workspace of ExactExperts", names_of(c), expected,
      [&] { return std::make_unique<cuda::ExactExperts>(c.mlp); },
      [&](cuda::ExactExperts const& gpu) {
        cuda::DeviceExpertWeights const device_weights(c.mlp, weights.weights(true), stream);
        cuda::DeviceBuffer const memory(gpu.workspace_bytes(c.rows));
        cuda::DeviceExpertCall on_device;
        on_device.rows = rows.view();
        on_device.blocks = blocks.as<RowBlock const>();
        on_device.total_rows = c.rows;
        on_device.weights = &device_weights;
        on_device.output = output.view();
        cuda::fill_bytes(output.buffer, kPoisonByte, stream);
        gpu.apply(on_device, {memory.as<std::byte>(), static_cast<std::size_t>(memory.size_bytes())}, stream);
        return cuda::download<std::byte>(output.buffer, stream);
      });
}

}  // namespace cross_backend
