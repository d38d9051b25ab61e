// SPDX-License-Identifier: Apache-2.0
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/cuda/cuda_executor.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/rebalance.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/counts.hpp"
#include "vectors/dispatch_backend.hpp"
#include "vectors/moved_rows.hpp"

namespace switchyard::tools {
namespace {

constexpr std::uint8_t kPoison = 0xa5;  ///< what is not written must not look right

/// A host matrix of floats on the device.
struct DeviceMatrix {
  TensorShape shape;
  cuda::DeviceBuffer buffer;

  explicit DeviceMatrix(ConstTensorView const& host)
      : shape(host.shape()), buffer(checked_mul(shape.num_elements(), size_of(DType::f32))) {}
  [[nodiscard]] TensorView view() const { return buffer.view(DType::f32, shape); }
};

class CudaRank final : public RankExecutor {
 public:
  CudaRank(Communicator& comm, DispatchPlan const& plan) : plan_(plan), comm_(comm), executor_(comm_) {}

  void dispatch(ConstTensorView tokens, TensorView rows) override {
    DeviceMatrix const in = uploaded(tokens);
    DeviceMatrix const out = poisoned(rows);
    executor_.dispatch(plan_, in.view(), out.view(), stream_);
    download(out, rows);
  }

  void combine(ConstTensorView expert_rows, std::span<float const> weights, TensorView out) override {
    DeviceMatrix const in = uploaded(expert_rows);
    DeviceMatrix const result = poisoned(out);
    DeviceMatrix const device_weights =
        uploaded(ConstTensorView::matrix(weights, plan_.plan().num_tokens, plan_.plan().slot_columns));
    cuda::CombineInputs inputs;
    inputs.weights = device_weights.view();
    executor_.combine(plan_, CombineRecipe::source_slot_order(), in.view(), inputs, result.view(), stream_);
    executor_.check(stream_);
    download(result, out);
  }

 private:
  static std::size_t bytes_of(ConstTensorView const& host) {
    return to_size(checked_mul(host.shape().num_elements(), size_of(DType::f32)));
  }
  DeviceMatrix uploaded(ConstTensorView const& host) const {
    DeviceMatrix matrix(host);
    copy_to_device({static_cast<std::byte const*>(host.data()), bytes_of(host)}, matrix.buffer, stream_);
    return matrix;
  }
  DeviceMatrix poisoned(ConstTensorView const& like) const {
    DeviceMatrix matrix(like);
    fill_bytes(matrix.buffer, kPoison, stream_);
    return matrix;
  }
  void download(DeviceMatrix const& matrix, TensorView const& host) const {
    copy_to_host(matrix.buffer, {static_cast<std::byte*>(host.data()), bytes_of(host)}, stream_);
    stream_.view().synchronize();
  }

  cuda::Stream stream_;
  cuda::DevicePlan plan_;
  cuda::HostStagedCommunicator comm_;
  cuda::CudaExecutor executor_;
};

void move_on_device(Communicator& comm, RebalancePlan const& plan, std::span<std::int64_t> rows) {
  cuda::Stream const stream;
  auto const bytes = std::as_writable_bytes(rows);
  cuda::DeviceBuffer const memory(static_cast<std::int64_t>(bytes.size()));
  copy_to_device(bytes, memory, stream);
  cuda::HostStagedCommunicator data(comm);
  cuda::RebalanceExecutor executor(plan);
  executor.execute({comm, data}, moved_rows(plan, comm.rank(), memory.as<std::byte>()), stream);
  copy_to_host(memory, bytes, stream);
  stream.view().synchronize();
}

/// The CUDA runtime keeps state per thread, so ranks are threads here.
void run_on_threads(int ranks, std::function<void(Communicator&)> const& body) {
  auto const scheduler = cpu::make_thread_scheduler();
  cpu::run_ranks(*scheduler, ranks, {}, body);
}

}  // namespace

DispatchBackend const& cuda_dispatch_backend() {
  SWITCHYARD_REQUIRE(cuda::device_count() > 0, cuda,
                     "no usable GPU on this machine: use --backend cpu, or see 'switchyard doctor'");
  static constexpr DispatchBackend kBackend{
      run_on_threads,
      [](Communicator& comm, DispatchPlan const& plan) -> std::unique_ptr<RankExecutor> {
        return std::make_unique<CudaRank>(comm, plan);
      },
      move_on_device, vectors::route_on_gpu};
  return kBackend;
}

}  // namespace switchyard::tools
