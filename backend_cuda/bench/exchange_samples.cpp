// SPDX-License-Identifier: Apache-2.0
// bench_exchanges(): samples of all-to-alls for the simulator's costs and their validation. Beside the patterns of
// bench_alltoallv() it times the two parts of the uniform one, which are all that costs are fitted to.
//
// A sample is the largest time of any rank, by events around kBurst exchanges in a row, over kBurst. An exchange that
// nobody times comes first, so that ranks, which start microseconds apart, begin together. The patterns of a size take
// turns, so that whatever slows the machine down for a while hits all of them.
#include <algorithm>
#include <cstdio>
#include <iterator>
#include <memory>
#include <mutex>

#include "captured_steps.hpp"
#include "gpu_benches.hpp"
#include "pattern_messages.hpp"
#include "rank_threads.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/types/version.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header
using bench::AllToAllCase;
using bench::AllToAllTable;

constexpr int kSamples = 30;
constexpr int kWarmups = 3;
constexpr int kBurst = 20;
constexpr std::int64_t kLeast = std::int64_t{4} << 10;
constexpr std::int64_t kMost = std::int64_t{256} << 20;

std::vector<std::string> all_patterns() {
  std::vector<std::string> names;
  for (auto const& pattern : kAllToAllPatterns) names.emplace_back(pattern.first);
  for (auto const& pattern : kUniformParts) names.emplace_back(pattern.first);
  return names;
}

/// Every pattern at powers of two and at the sizes halfway between them, by size.
std::vector<AllToAllCase> all_cases() {
  std::vector<AllToAllCase> cases;
  auto const add = [&](std::int64_t total) {
    for (std::string const& pattern : all_patterns()) {
      AllToAllCase one;
      one.pattern = pattern;
      one.total_bytes = total;
      cases.push_back(std::move(one));
    }
  };
  for (std::int64_t total = kLeast; total <= kMost; total *= 2) {
    add(total);
    if (total < kMost) add(total / 2 * 3);
  }
  return cases;
}

/// The samples of ranks, merged by maximum.
class ExchangeBoard {
 public:
  explicit ExchangeBoard(AllToAllTable& table) : table_(table) {}

  void hand_in(std::size_t which, std::vector<double> const& of_rank) {
    std::lock_guard const lock(mutex_);
    bench::merge_largest(table_.cases[which].samples_us, of_rank);
  }

 private:
  AllToAllTable& table_;
  std::mutex mutex_{};
};

/// One rank's bursts of one pattern, timed one at a time.
class Burst {
 public:
  /// @param lead the exchange before a burst
  Burst(RankClock& clock, PatternMessages lead, PatternMessages messages, Issue issue)
      : clock_(clock), lead_(std::move(lead)), messages_(std::move(messages)) {
    if (issue == Issue::graph)
      graph_ = std::make_unique<CapturedSteps>(clock.stream.view(), [this] { exchange_all(); });
  }

  double time_us() {
    clock_.stream.view().synchronize();
    clock_.checked.barrier({.operation = "sample"});
    clock_.bare.exchange_on(clock_.stream, lead_.sends, lead_.receives, {.operation = "begin together"});
    clock_.begin.view().record(clock_.stream);
    if (graph_)
      graph_->launch();
    else
      exchange_all();
    clock_.end.view().record(clock_.stream);
    clock_.checked.wait(clock_.stream);
    return cuda::elapsed_us(clock_.begin, clock_.end) / kBurst;
  }

 private:
  void exchange_all() {
    for (int call = 0; call < kBurst; ++call)
      clock_.bare.exchange_on(clock_.stream, messages_.sends, messages_.receives, {.operation = "alltoallv"});
  }

  RankClock& clock_;
  PatternMessages lead_, messages_;
  std::unique_ptr<CapturedSteps> graph_{};
};

/// All patterns of one size, in turns; every round begins with another one. @param first of the size's cases
void time_size(ExchangeBoard& board, std::vector<std::unique_ptr<Burst>> const& bursts, std::size_t first) {
  std::vector<std::vector<double>> samples(bursts.size());
  for (int round = -kWarmups; round < kSamples; ++round)
    for (std::size_t turn = 0; turn < bursts.size(); ++turn) {
      std::size_t const pattern = (turn + static_cast<std::size_t>(round + kWarmups)) % bursts.size();
      double const us = bursts[pattern]->time_us();
      if (round >= 0) samples[pattern].push_back(us);
    }
  for (std::size_t pattern = 0; pattern < bursts.size(); ++pattern) board.hand_in(first + pattern, samples[pattern]);
}

void run_rank(RankClock& clock, AllToAllTable const& table, Issue issue, ExchangeBoard& board) {
  int const me = clock.bare.rank().value();
  cuda::DeviceBuffer const send(kMost), receive(kMost * table.ranks);
  auto const messages = [&](std::string const& pattern, std::int64_t total) {
    return messages_of(pattern, table.ranks, me, total, send.as<std::byte>(), receive.as<std::byte>());
  };
  std::size_t const patterns = all_patterns().size();
  for (std::size_t first = 0; first < table.cases.size(); first += patterns) {
    std::vector<std::unique_ptr<Burst>> bursts;
    for (std::size_t i = first; i < first + patterns; ++i)
      bursts.push_back(std::make_unique<Burst>(clock, messages("peers", kPatternGrain * table.ranks),
                                               messages(table.cases[i].pattern, table.cases[i].total_bytes), issue));
    time_size(board, bursts, first);
  }
}

std::string provenance_of(int ranks, Issue issue) {
  bool const graph = issue == Issue::graph;
  return std::string("switchyard ") + SWITCHYARD_VERSION_STRING + " switchyard_gpu_exchanges " + std::to_string(ranks) +
         (graph ? " graph" : "") +
         ": one process, a thread and a GPU per rank; samples are the largest time of any rank over " +
         std::to_string(kBurst) + " exchanges in a row" + (graph ? ", replayed as a graph" : "") +
         ", by events behind one that nobody times; patterns of a size take turns; own messages are device copies "
         "beside the exchange";
}

void print(AllToAllTable const& table) {
  for (AllToAllCase const& one : table.cases) {
    auto const [least, most] = std::minmax_element(one.samples_us.begin(), one.samples_us.end());
    std::printf("%-14s %10lld bytes  median %9.1f us, from %.1f to %.1f\n", one.pattern.c_str(),
                static_cast<long long>(one.total_bytes), median(one.samples_us), *least, *most);
  }
}

}  // namespace

AllToAllTable bench_exchanges(int ranks, Issue issue, Echo echo) {
  AllToAllTable table;
  table.machine = std::to_string(ranks) + " x " + cuda::describe_device() + ", " + cuda::describe_nccl();
  table.provenance = provenance_of(ranks, issue);
  table.issue = issue == Issue::graph ? "graph" : "host";
  table.ranks = ranks;
  table.cases = all_cases();
  ExchangeBoard board(table);
  run_rank_threads(ranks, [&](RankClock& clock) { run_rank(clock, table, issue, board); });
  if (echo == Echo::lines) print(table);
  return table;
}

}  // namespace gpu_bench
