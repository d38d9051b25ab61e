// SPDX-License-Identifier: Apache-2.0
#include "peer_copies.hpp"

#include "peer_access.hpp"

namespace gpu_bench {

using namespace switchyard;  // NOLINT: a program, not a header

namespace {

/// @return [world] where this rank's message lands on every rank. All ranks are threads here, so pointers travel.
std::vector<std::uint64_t> landings(Communicator& comm, std::span<cuda::DeviceReceive const> receives) {
  auto const world = static_cast<std::size_t>(comm.size());
  std::vector<std::uint64_t> mine(world);
  for (auto const& receive : receives) mine[receive.from.index()] = reinterpret_cast<std::uint64_t>(receive.data);
  std::vector<std::uint64_t> theirs(world);
  std::vector<std::int64_t> const each(world, sizeof(std::uint64_t));
  comm.all_to_all_v(std::as_bytes(std::span(mine)), each, std::as_writable_bytes(std::span(theirs)), each,
                    {.operation = "landings"});
  return theirs;
}

}  // namespace

PeerCopies::PeerCopies(Communicator& comm, std::span<cuda::DeviceSend const> sends,
                       std::span<cuda::DeviceReceive const> receives)
    : device_(comm.rank().value()) {
  auto const places = landings(comm, receives);
  for (auto const& send : sends) {
    if (send.bytes == 0) continue;
    static_cast<void>(reach_peer(device_, send.to.value()));
    copies_.push_back(
        {reinterpret_cast<void*>(places[send.to.index()]), send.data, send.bytes, static_cast<int>(send.to.value())});
    streams_.emplace_back();
    passed_.emplace_back();
  }
}

void PeerCopies::run(cuda::StreamView stream, int times) {
  forked_.view().record(stream);
  for (auto const& beside : streams_) beside.view().wait(forked_);
  for (int i = 0; i < times; ++i)
    for (std::size_t c = 0; c < copies_.size(); ++c) {
      Copy const& copy = copies_[c];
      auto const bytes = static_cast<std::size_t>(copy.bytes);
      auto* const handle = streams_[c].view().handle();
      if (copy.device == device_) {
        require(cudaMemcpyAsync(copy.to, copy.from, bytes, cudaMemcpyDeviceToDevice, handle), "cudaMemcpyAsync");
      } else {
        require(cudaMemcpyPeerAsync(copy.to, copy.device, copy.from, device_, bytes, handle), "cudaMemcpyPeerAsync");
      }
    }
  for (std::size_t c = 0; c < streams_.size(); ++c) {
    passed_[c].view().record(streams_[c]);
    stream.wait(passed_[c]);
  }
}

}  // namespace gpu_bench
