// SPDX-License-Identifier: Apache-2.0
// The exact engine behind core's interface of experts, and device memory for layers.
#include <optional>

#include "scratch.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {

struct LayerExperts::State {
  ExactExperts engine;
  StreamView stream;
  DeviceScratch memory;

  std::span<std::byte> reserve(std::int64_t bytes) {
    return {static_cast<std::byte*>(memory.reserve(bytes)), to_size(bytes)};
  }
};

namespace {

/// What a call names on the host, on the device for as long as it runs.
struct CallTables {
  CallTables(ExpertMlp const& mlp, ExpertCall const& call, StreamView stream)
      : weights(mlp, call.weights, stream),
        blocks(upload(std::vector<switchyard::RowBlock>(call.blocks.begin(), call.blocks.end()), stream)) {
    on_device.rows = call.rows;
    on_device.row_codes = call.row_codes;
    on_device.blocks = blocks.as<RowBlock const>();
    on_device.total_rows = call.row_codes != nullptr     ? call.row_codes->rows
                           : call.rows.data() == nullptr ? 0
                                                         : call.rows.shape().num_elements() / mlp.hidden;
    on_device.weights = &weights;
    if (!call.row_weights.empty()) on_device.row_weights = call.row_weights.data();
    on_device.a1_scale = call.a1_scale;
    on_device.a2_scale = call.a2_scale;
    on_device.output = call.output;
  }

  DeviceExpertWeights weights;
  DeviceBuffer blocks;
  DeviceExpertCall on_device{};
};

}  // namespace

LayerExperts::LayerExperts(ExpertMlp const& mlp, StreamView stream)
    : state_(std::make_unique<State>(State{ExactExperts(mlp), stream, {}})) {}
LayerExperts::~LayerExperts() = default;

ExpertMlp const& LayerExperts::mlp() const noexcept {
  return state_->engine.mlp();
}

void LayerExperts::apply(ExpertCall const& call, std::span<std::byte>) const {
  CallTables const tables(mlp(), call, state_->stream);
  state_->engine.apply(tables.on_device, state_->reserve(state_->engine.workspace_bytes(tables.on_device.total_rows)),
                       state_->stream);
  state_->stream.synchronize();
}

void LayerExperts::backward(ExpertGradientCall const& call, std::span<std::byte>) const {
  CallTables const tables(mlp(), call.forward, state_->stream);
  DeviceExpertGradientCall on_device;
  on_device.forward = tables.on_device;
  auto const order =
      upload(std::vector<std::int64_t>(call.rank_major_rows.begin(), call.rank_major_rows.end()), state_->stream);
  on_device.rank_major_rows = order.as<std::int64_t const>();
  on_device.d_output = call.d_output;
  on_device.d_rows = call.d_rows;
  on_device.d_w1 = call.d_w1;
  on_device.d_w2 = call.d_w2;
  on_device.d_b1 = call.d_b1;
  on_device.d_b2 = call.d_b2;
  auto const bytes = state_->engine.backward_workspace_bytes(tables.on_device.total_rows);
  state_->engine.backward(on_device, state_->reserve(bytes), state_->stream);
  state_->stream.synchronize();
}

std::shared_ptr<std::byte> DeviceMemorySource::allocate(std::int64_t bytes) {
  auto const buffer = std::make_shared<DeviceBuffer>(bytes);
  return {buffer, buffer->as<std::byte>()};
}

}  // namespace switchyard::cuda
