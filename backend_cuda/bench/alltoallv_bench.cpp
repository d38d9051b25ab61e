// SPDX-License-Identifier: Apache-2.0
// bench_alltoallv(): bare all-to-alls of even and uneven sizes over NCCL. A sample is the largest time of any rank, by
// events around kBurst exchanges in a row, over kBurst: ranks start microseconds apart, and a single exchange would
// mostly say how far. The floor is the same messages as copies by the devices.
#include <algorithm>
#include <cstdio>
#include <mutex>

#include "gpu_benches.hpp"
#include "pattern_messages.hpp"
#include "peer_copies.hpp"
#include "rank_threads.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/types/version.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header
using bench::AllToAllBench;
using bench::AllToAllCase;
using bench::AllToAllTable;

constexpr int kExchanges = 20;
constexpr int kCopies = 5;

/// Samples of ranks, merged by maximum; the last rank to hand in reports.
class AllToAllBoard {
 public:
  AllToAllBoard(AllToAllTable& table, Echo echo) : table_(table), echo_(echo) {}
  void hand_in(std::size_t which, std::vector<double> const& exchanges, std::vector<double> const& copies) {
    std::lock_guard const lock(mutex_);
    AllToAllCase& one = table_.cases[which];
    bench::merge_largest(one.samples_us, exchanges);
    bench::merge_largest(one.floor_us, copies);
    if (++handed_in_ < table_.ranks) return;
    handed_in_ = 0;
    if (echo_ == Echo::none) return;
    std::printf("%s%s", which == 0 ? bench::line_heading().c_str() : "", bench::to_line(record_of(one)).c_str());
    std::fflush(stdout);
  }

 private:
  AllToAllTable& table_;
  Echo echo_;
  std::mutex mutex_{};
  int handed_in_ = 0;
};

void run_rank(RankClock& clock, AllToAllTable const& table, AllToAllBench const& sizes, AllToAllBoard& board) {
  int const me = clock.bare.rank().value();
  cuda::DeviceBuffer const send(sizes.most_bytes);
  cuda::DeviceBuffer const receive(sizes.most_bytes * table.ranks);
  for (std::size_t i = 0; i < table.cases.size(); ++i) {
    AllToAllCase const& one = table.cases[i];
    auto const messages =
        messages_of(one.pattern, table.ranks, me, one.total_bytes, send.as<std::byte>(), receive.as<std::byte>());
    auto const exchange = [&] {
      clock.bare.exchange_on(clock.stream, messages.sends, messages.receives, {.operation = "alltoallv"});
    };
    auto const exchanges = clock.sample(exchange, kExchanges, sizes.samples);
    PeerCopies copies(clock.checked, messages.sends, messages.receives);
    board.hand_in(i, exchanges, clock.sample_copies(copies, kCopies, sizes.samples));
  }
}

}  // namespace

AllToAllTable bench_alltoallv(AllToAllBench const& sizes, Echo echo) {
  AllToAllTable table;
  table.machine = std::to_string(sizes.ranks) + " x " + cuda::describe_device() + ", " + cuda::describe_nccl();
  table.provenance =
      std::string("switchyard ") + SWITCHYARD_VERSION_STRING +
      " alltoallv over NCCL: one process, a thread and a GPU per rank; samples are the largest time of any rank over " +
      std::to_string(kExchanges) + " exchanges in a row, by events; own messages are device copies beside the exchange";
  table.ranks = sizes.ranks;
  table.cases = bench::alltoallv_cases(sizes);
  AllToAllBoard board(table, echo);
  run_rank_threads(sizes.ranks, [&](RankClock& clock) { run_rank(clock, table, sizes, board); });
  return table;
}

}  // namespace gpu_bench
