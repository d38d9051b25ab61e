// SPDX-License-Identifier: Apache-2.0
#include "bench/alltoallv_cpu.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <numeric>

#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/internal/alltoallv_patterns.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/types/version.hpp"

namespace switchyard::cli {
namespace {

constexpr int kWarmups = 3;
using Bytes = std::vector<std::int64_t>;

double microseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start).count();
}

std::int64_t sum_of(Bytes const& bytes) {
  return std::accumulate(bytes.begin(), bytes.end(), std::int64_t{0});
}

/// What one rank sends and receives.
struct RankSizes {
  Bytes send{};
  Bytes receive{};
};

RankSizes sizes_of(std::string const& pattern, int ranks, int rank, std::int64_t total) {
  RankSizes sizes;
  for (int other = 0; other < ranks; ++other) {
    sizes.send.push_back(pattern_bytes(pattern, ranks, rank, other, total));
    sizes.receive.push_back(pattern_bytes(pattern, ranks, other, rank, total));
  }
  return sizes;
}

/// Merges the ranks' samples by maximum.
class Board {
 public:
  explicit Board(bench::AllToAllCase& one) : one_(one) {}
  void hand_in(std::vector<double> const& exchange, std::vector<double> const& copy) {
    std::lock_guard const lock(mutex_);
    bench::merge_largest(one_.samples_us, exchange);
    bench::merge_largest(one_.floor_us, copy);
  }

 private:
  bench::AllToAllCase& one_;
  std::mutex mutex_{};
};

void run_rank(Communicator& comm, bench::AllToAllCase const& one, int samples, Board& board) {
  RankSizes const sizes = sizes_of(one.pattern, comm.size(), comm.rank().value(), one.total_bytes);
  std::vector<std::byte> const send(to_size(sum_of(sizes.send)), std::byte{1});
  std::vector<std::byte> receive(to_size(sum_of(sizes.receive)), std::byte{2});
  std::vector<std::byte> const source(receive.size(), std::byte{3});
  std::vector<double> exchanges;
  std::vector<double> copies;
  for (int i = -kWarmups; i < samples; ++i) {
    comm.barrier();
    auto start = std::chrono::steady_clock::now();
    comm.all_to_all_v(send, sizes.send, receive, sizes.receive);
    if (i >= 0) exchanges.push_back(microseconds_since(start));
    comm.barrier();
    start = std::chrono::steady_clock::now();
    if (!receive.empty()) std::memcpy(receive.data(), source.data(), source.size());
    if (i >= 0) copies.push_back(microseconds_since(start));
  }
  board.hand_in(exchanges, copies);
}

}  // namespace

bench::AllToAllTable bench_alltoallv_cpu(bench::AllToAllBench const& bench) {
  bench::AllToAllTable table;
  table.machine = "CPU, emulated ranks";
  table.provenance = fmt::format("switchyard {} bench alltoallv, {} samples, largest time of any rank",
                                 SWITCHYARD_VERSION_STRING, bench.samples);
  table.ranks = bench.ranks;
  table.cases = bench::alltoallv_cases(bench);
  for (bench::AllToAllCase& one : table.cases) {
    Board board(one);
    auto const scheduler = cpu::make_thread_scheduler();
    cpu::run_ranks(*scheduler, bench.ranks, {}, [&](Communicator& comm) { run_rank(comm, one, bench.samples, board); });
  }
  return table;
}

}  // namespace switchyard::cli
