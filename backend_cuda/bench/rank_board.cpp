// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <numeric>

#include "peer_copies.hpp"
#include "rank_bench.hpp"
#include "switchyard/cuda/device_buffer.hpp"

namespace gpu_bench {

using namespace switchyard;  // NOLINT: a program, not a header

void Board::hand_in(Results::Record const& of_rank) {
  std::lock_guard const lock(mutex_);
  bench::merge_largest(merged_.samples_us, of_rank.samples_us);
  if (of_rank.bytes >= merged_.bytes) {
    merged_.bytes = of_rank.bytes;
    merged_.bus_factor = of_rank.bus_factor;
  }
  merged_.floor_us = std::max(merged_.floor_us, of_rank.floor_us);
  merged_.name = of_rank.name;
  merged_.fields = of_rank.fields;
  if (++handed_in_ < ranks_) return;
  results_.add(std::exchange(merged_, {}));
  handed_in_ = 0;
}

RowExchange exchange_of(DispatchPlan const& plan) {
  if (auto const* found = plan.find<RowExchange>()) return *found;
  std::int64_t const rows = output_rows(plan.stages.front());
  return {{rows}, {rows}};
}

Wire measure_wire(RankBench& bench, RowExchange const& exchange) {
  std::int64_t const sent = std::accumulate(exchange.send_rows.begin(), exchange.send_rows.end(), std::int64_t{0});
  std::int64_t const got = std::accumulate(exchange.receive_rows.begin(), exchange.receive_rows.end(), std::int64_t{0});
  cuda::DeviceBuffer const out(sent * kRowBytes);
  cuda::DeviceBuffer const in(got * kRowBytes);
  std::vector<cuda::DeviceSend> sends;
  std::vector<cuda::DeviceReceive> receives;
  std::int64_t out_bytes = 0;
  std::int64_t in_bytes = 0;
  Wire wire;
  for (std::size_t peer = 0; peer < exchange.send_rows.size(); ++peer) {
    RankId const id(static_cast<std::int32_t>(peer));
    std::int64_t const to = exchange.send_rows[peer] * kRowBytes;
    std::int64_t const from = exchange.receive_rows[peer] * kRowBytes;
    if (id != bench.bare.rank()) {
      sends.push_back({id, out.as<std::byte>() + out_bytes, to});
      receives.push_back({id, in.as<std::byte>() + in_bytes, from});
      wire.bytes += static_cast<double>(to);
    }
    out_bytes += to;
    in_bytes += from;
  }
  wire.nccl_us = bench.sample([&] { bench.bare.exchange_on(bench.stream, sends, receives, {.operation = "wire"}); });
  PeerCopies copies(bench.checked, sends, receives);
  wire.copies_us = median(bench.clock.sample_copies(copies, kBurst));
  return wire;
}

}  // namespace gpu_bench
