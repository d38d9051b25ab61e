// SPDX-License-Identifier: Apache-2.0
// The exact engine behind core's interface of experts, and device memory for layers.
#include <cstring>
#include <optional>
#include <utility>

#include "cuda_error.hpp"
#include "scratch.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/cuda/prepare_finalize.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {

namespace {

/// A list on the device that every call writes anew, in stream order; the host waits for the copy before the last one.
class StagedList {
 public:
  template <typename T>
  T const* put(std::span<T const> values, StreamView stream) {
    auto const bytes = static_cast<std::int64_t>(values.size_bytes());
    if (bytes == 0) return nullptr;
    copied_.view().synchronize();
    std::byte* const staged = host_.reserve(bytes);
    std::memcpy(staged, values.data(), values.size_bytes());
    void* const there = device_.reserve(bytes);
    SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(there, staged, values.size_bytes(), cudaMemcpyHostToDevice, stream.handle()));
    copied_.view().record(stream);
    return static_cast<T const*>(there);
  }

 private:
  PinnedScratch host_{};
  DeviceScratch device_{};
  Event copied_{};
};

bool same_place(ConstTensorView const& a, ConstTensorView const& b) {
  return a.data() == b.data() && a.dtype() == b.dtype() && a.shape() == b.shape() && a.space() == b.space();
}

/// Plain weights that lie where others lay: what describes them holds for both.
bool same_places(ExpertWeights const& a, ExpertWeights const& b) {
  bool const plain = a.w1_codes.empty() && a.w2_codes.empty() && b.w1_codes.empty() && b.w2_codes.empty();
  return plain && same_place(a.w1, b.w1) && same_place(a.w2, b.w2) && same_place(a.b1, b.b1) && same_place(a.b2, b.b2);
}

}  // namespace

struct LayerExperts::State {
  State(ExpertMlp const& mlp, StreamView on) : engine(mlp), stream(on) {}

  ExactExperts engine;
  StreamView stream;
  DeviceScratch memory{};
  StagedList blocks{};
  StagedList order{};
  ExpertWeights described{};  ///< what `weights` describes
  std::optional<DeviceExpertWeights> weights{};

  std::span<std::byte> reserve(std::int64_t bytes) {
    return {static_cast<std::byte*>(memory.reserve(bytes)), to_size(bytes)};
  }
  DeviceExpertWeights const& describe(ExpertWeights const& of_call) {
    if (weights && same_places(described, of_call)) return *weights;
    DeviceExpertWeights made(engine.mlp(), of_call, stream);
    stream.synchronize();  // the tables of the call before go
    weights.emplace(std::move(made));
    described = of_call;
    return *weights;
  }
  DeviceExpertCall on_device(ExpertCall const& call);
};

DeviceExpertCall LayerExperts::State::on_device(ExpertCall const& call) {
  DeviceExpertCall there;
  there.weights = &describe(call.weights);
  there.blocks = blocks.put(call.blocks, stream);
  there.rows = call.rows;
  there.row_codes = call.row_codes;
  there.total_rows = call.row_codes != nullptr     ? call.row_codes->rows
                     : call.rows.data() == nullptr ? 0
                                                   : call.rows.shape().num_elements() / engine.mlp().hidden;
  if (!call.row_weights.empty()) there.row_weights = call.row_weights.data();
  there.a1_scale = call.a1_scale;
  there.a2_scale = call.a2_scale;
  there.output = call.output;
  return there;
}

LayerExperts::LayerExperts(ExpertMlp const& mlp, StreamView stream) : state_(std::make_unique<State>(mlp, stream)) {}
LayerExperts::~LayerExperts() = default;

ExpertMlp const& LayerExperts::mlp() const noexcept {
  return state_->engine.mlp();
}

void LayerExperts::apply(ExpertCall const& call, std::span<std::byte>) const {
  DeviceExpertCall const there = state_->on_device(call);
  state_->engine.apply(there, state_->reserve(state_->engine.workspace_bytes(there.total_rows)), state_->stream);
}

void LayerExperts::backward(ExpertGradientCall const& call, std::span<std::byte>) const {
  DeviceExpertGradientCall there;
  there.forward = state_->on_device(call.forward);
  there.rank_major_rows = state_->order.put(call.rank_major_rows, state_->stream);
  there.d_output = call.d_output;
  there.d_rows = call.d_rows;
  there.d_w1 = call.d_w1;
  there.d_w2 = call.d_w2;
  there.d_b1 = call.d_b1;
  there.d_b2 = call.d_b2;
  auto const bytes = state_->engine.backward_workspace_bytes(there.forward.total_rows);
  state_->engine.backward(there, state_->reserve(bytes), state_->stream);
}

std::shared_ptr<std::byte> DeviceMemorySource::allocate(std::int64_t bytes) {
  auto const buffer = std::make_shared<DeviceBuffer>(bytes);
  return {buffer, buffer->as<std::byte>()};
}

}  // namespace switchyard::cuda
