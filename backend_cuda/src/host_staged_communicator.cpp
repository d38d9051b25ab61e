// SPDX-License-Identifier: Apache-2.0
#include <vector>

#include "cuda_error.hpp"
#include "scratch.hpp"
#include "switchyard/cuda/device_communicator.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

template <typename Message>
std::int64_t total_bytes(std::span<Message const> messages) {
  std::int64_t total = 0;
  for (Message const& message : messages) total += message.bytes;
  return total;
}

void copy_async(void* to, void const* from, std::size_t bytes, StreamView stream) {
  if (bytes == 0) return;
  SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream.handle()));
}

}  // namespace

struct HostStagedCommunicator::Staging {
  PinnedScratch sent;
  PinnedScratch received;
};

HostStagedCommunicator::HostStagedCommunicator(Communicator& host)
    : host_(host), staging_(std::make_unique<Staging>()) {}
HostStagedCommunicator::~HostStagedCommunicator() = default;

void HostStagedCommunicator::exchange_on(StreamView stream, std::span<DeviceSend const> sends,
                                         std::span<DeviceReceive const> receives, CallOptions const& options) {
  std::byte* out = staging_->sent.reserve(total_bytes(sends));
  std::byte* in = staging_->received.reserve(total_bytes(receives));
  std::vector<SendMessage> host_sends;
  for (DeviceSend const& send : sends) {
    copy_async(out, send.data, to_size(send.bytes), stream);
    host_sends.push_back({send.to, {out, to_size(send.bytes)}});
    out += send.bytes;
  }
  std::vector<ReceiveMessage> host_receives;
  for (DeviceReceive const& receive : receives) {
    host_receives.push_back({receive.from, {in, to_size(receive.bytes)}});
    in += receive.bytes;
  }
  stream.synchronize();
  host_.exchange(host_sends, host_receives, options);
  for (std::size_t i = 0; i < receives.size(); ++i)
    copy_async(receives[i].data, host_receives[i].data.data(), to_size(receives[i].bytes), stream);
  stream.synchronize();  // the staging memory is free for the next call
}

}  // namespace switchyard::cuda
