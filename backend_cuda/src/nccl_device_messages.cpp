// SPDX-License-Identifier: Apache-2.0
// Messages in device memory: grouped ncclSend and ncclRecv, and copies of what a rank sends to itself.
#include "cuda_error.hpp"
#include "nccl_error.hpp"
#include "nccl_state.hpp"
#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {

/// An NCCL group, which is closed whatever happens: an open one would swallow the thread's later calls.
class NcclCommunicator::State::Group {
 public:
  explicit Group(NcclHandle const& handle) : handle_(handle) {
    SWITCHYARD_NCCL_TRY(handle_.get(), ncclGroupStart());
    is_open_ = true;
  }
  ~Group() {
    if (is_open_) (void)ncclGroupEnd();
  }
  Group(Group const&) = delete;
  Group& operator=(Group const&) = delete;
  void end() {
    is_open_ = false;
    SWITCHYARD_NCCL_TRY(handle_.get(), ncclGroupEnd());
  }

 private:
  NcclHandle const& handle_;
  bool is_open_ = false;
};

void NcclCommunicator::State::require_issued(ncclResult_t result, char const* call, RankId peer) const {
  if (result == ncclSuccess || result == ncclInProgress) return;
  throw_nccl_error(result, fmt::format("{} rank {}", call, peer.value()).c_str(), handle.get(), __FILE__, __LINE__);
}

void NcclCommunicator::State::exchange_with_peers(StreamView on, std::span<DeviceSend const> sends,
                                                  std::span<DeviceReceive const> receives, Duration deadline) {
  require_alive();
  auto const last = Clock::now() + deadline;
  Group group(handle);
  for (DeviceSend const& send : sends)
    if (send.to.value() != control.rank() && send.bytes > 0)
      require_issued(ncclSend(send.data, to_size(send.bytes), ncclInt8, send.to.value(), handle.get(), on.handle()),
                     "ncclSend to", send.to);
  for (DeviceReceive const& receive : receives)
    if (receive.from.value() != control.rank() && receive.bytes > 0)
      require_issued(
          ncclRecv(receive.data, to_size(receive.bytes), ncclInt8, receive.from.value(), handle.get(), on.handle()),
          "ncclRecv from", receive.from);
  group.end();
  settle(last, deadline);
}

/// Messages to itself: the k-th send is the k-th receive.
void NcclCommunicator::State::copy_own(StreamView on, std::span<DeviceSend const> sends,
                                       std::span<DeviceReceive const> receives) const {
  std::size_t next = 0;
  for (DeviceReceive const& receive : receives) {
    if (receive.from.value() != control.rank()) continue;
    while (next < sends.size() && sends[next].to.value() != control.rank()) ++next;
    SWITCHYARD_REQUIRE(next < sends.size() && sends[next].bytes == receive.bytes, split_mismatch,
                       "rank {} expects {} bytes from itself, which it does not send", control.rank(), receive.bytes);
    if (receive.bytes > 0)
      SWITCHYARD_CUDA_TRY(cudaMemcpyAsync(receive.data, sends[next].data, to_size(receive.bytes),
                                          cudaMemcpyDeviceToDevice, on.handle()));
    ++next;
  }
}

/// Copies that take longer than two events go to a stream of their own.
void NcclCommunicator::State::move_device(StreamView on, std::span<DeviceSend const> sends,
                                          std::span<DeviceReceive const> receives, Duration deadline) {
  constexpr std::int64_t kWorthForking = std::int64_t{1} << 20;
  std::int64_t own_bytes = 0;
  for (DeviceReceive const& receive : receives)
    if (receive.from.value() == control.rank()) own_bytes += receive.bytes;
  bool const forks = own_bytes >= kWorthForking;
  StreamView const beside = forks ? stream.view() : on;
  if (forks) {
    forked.view().record(on);
    beside.wait(forked.view());
  }
  copy_own(beside, sends, receives);
  if (forks) copied.view().record(beside);
  exchange_with_peers(on, sends, receives, deadline);
  if (forks) on.wait(copied.view());
}

}  // namespace switchyard::cuda
