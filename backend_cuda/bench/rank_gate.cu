// SPDX-License-Identifier: Apache-2.0
#include <cstddef>
#include <span>
#include <vector>

#include "peer_access.hpp"
#include "rank_gate.hpp"
#include "system_words.cuh"

namespace gpu_bench {

namespace cuda = switchyard::cuda;

namespace {

constexpr std::uint64_t kHeldNs = 200'000;        ///< a host issues a planned step in 20 to 60 us
constexpr std::uint64_t kMostNs = 2'000'000'000;  ///< a peer that is gone is somebody else's error
constexpr unsigned kMostRanks = 1024;

__global__ void rank_gate_kernel(std::uint64_t* const* peers, std::uint64_t const* own, int rank, std::uint64_t turn) {
  std::uint64_t const start = cuda::now_ns();
  while (cuda::now_ns() - start < kHeldNs) {
  }
  __syncthreads();
  cuda::store_relaxed(peers[threadIdx.x] + rank, turn);
  while (cuda::load_relaxed(own + threadIdx.x) < turn && cuda::now_ns() - start < kMostNs) {
  }
}

}  // namespace

RankGate::RankGate(switchyard::Communicator& comm)
    : rank_(comm.rank().value()),
      world_(comm.size()),
      words_(std::int64_t{8} * comm.size()),
      peers_(std::int64_t{8} * comm.size()) {
  bool reaches = world_ <= static_cast<int>(kMostRanks);
  for (int peer = 0; peer < world_; ++peer) reaches = reach_peer(rank_, peer) && reaches;
  cuda::Stream const stream;
  cuda::fill_bytes(words_, 0, stream);
  stream.view().synchronize();
  auto const world = static_cast<std::size_t>(world_);
  std::vector<std::uint64_t> const mine{reaches ? reinterpret_cast<std::uint64_t>(words_.data()) : 0};
  std::vector<std::uint64_t> all(world);
  std::vector<std::int64_t> const each(world, sizeof(std::uint64_t));
  comm.all_gather_v(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)), each,
                    {.operation = "gate"});
  for (std::uint64_t const words : all) is_there_ = is_there_ && words != 0;
  cuda::copy_to_device(std::as_bytes(std::span(all)), peers_, stream);
  stream.view().synchronize();
}

void RankGate::run(cuda::StreamView stream) {
  rank_gate_kernel<<<1, static_cast<unsigned>(world_), 0, stream.handle()>>>(
      peers_.as<std::uint64_t*>(), words_.as<std::uint64_t const>(), rank_, ++turn_);
  require(cudaGetLastError(), "rank_gate_kernel");
}

}  // namespace gpu_bench
