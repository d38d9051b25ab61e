// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_exchanges <out.json> [ranks] [graph]: samples of all-to-alls for the simulator's costs and their
// validation; one process, one thread and one GPU per rank (default 2). Beside the patterns of the table of alltoallv
// it times the two parts of the uniform one, which are all that costs are fitted to.
//
// A sample is the largest time of any rank, by events around kBurst exchanges in a row, over kBurst. An exchange that
// nobody times comes first, so that ranks, which start microseconds apart, begin together. The patterns of a size take
// turns, so that whatever slows the machine down for a while hits all of them. With "graph" bursts are replays of a
// captured graph: what GPUs take where a host would issue exchanges more slowly.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>

#include "captured_steps.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"
#include "switchyard/internal/alltoallv_patterns.hpp"
#include "switchyard/launch/control.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header

constexpr int kSamples = 30;
constexpr int kWarmups = 3;
constexpr int kBurst = 20;
constexpr std::int64_t kLeast = std::int64_t{4} << 10;
constexpr std::int64_t kMost = std::int64_t{256} << 20;

enum class Issue { host, graph };
using Pattern = std::pair<char const*, char const*>;

std::vector<Pattern> all_patterns() {
  std::vector<Pattern> patterns(std::begin(kAllToAllPatterns), std::end(kAllToAllPatterns));
  patterns.insert(patterns.end(), std::begin(kUniformParts), std::end(kUniformParts));
  return patterns;
}

/// Powers of two and the sizes halfway between them.
std::vector<std::int64_t> totals() {
  std::vector<std::int64_t> sizes;
  for (std::int64_t total = kLeast; total <= kMost; total *= 2) {
    sizes.push_back(total);
    if (total < kMost) sizes.push_back(total / 2 * 3);
  }
  return sizes;
}

/// Samples of every (total, pattern), merged over ranks by maximum.
struct Board {
  std::mutex mutex{};
  std::map<std::pair<std::int64_t, std::size_t>, std::vector<double>> samples{};

  void hand_in(std::int64_t total, std::size_t pattern, std::vector<double> const& of_rank) {
    std::lock_guard const lock(mutex);
    auto& merged = samples[{total, pattern}];
    merged.resize(of_rank.size(), 0);
    for (std::size_t i = 0; i < of_rank.size(); ++i) merged[i] = std::max(merged[i], of_rank[i]);
  }
};

/// One rank's messages of a pattern.
struct Messages {
  std::vector<cuda::DeviceSend> sends{};
  std::vector<cuda::DeviceReceive> receives{};
};

Messages messages_of(std::string const& pattern, int ranks, int me, std::int64_t total, std::byte* out, std::byte* in) {
  Messages messages;
  for (int peer = 0; peer < ranks; ++peer) {
    std::int64_t const to = pattern_bytes(pattern, ranks, me, peer, total);
    std::int64_t const from = pattern_bytes(pattern, ranks, peer, me, total);
    if (to > 0) messages.sends.push_back({RankId(peer), out, to});
    if (from > 0) messages.receives.push_back({RankId(peer), in, from});
    out += to;
    in += from;
  }
  return messages;
}

/// One rank's bursts of one pattern, timed one at a time.
class Burst {
 public:
  /// @param lead the exchange before a burst
  Burst(cuda::NcclCommunicator& comm, cuda::Stream& stream, Messages lead, Messages messages, Issue issue)
      : comm_(comm), stream_(stream), lead_(std::move(lead)), messages_(std::move(messages)) {
    if (issue == Issue::graph) graph_ = std::make_unique<CapturedSteps>(stream.view(), [this] { exchange_all(); });
  }

  double time_us() {
    stream_.view().synchronize();
    comm_.barrier({.operation = "sample"});
    comm_.exchange_on(stream_, lead_.sends, lead_.receives, {.operation = "begin together"});
    begin_.view().record(stream_);
    if (graph_)
      graph_->launch();
    else
      exchange_all();
    end_.view().record(stream_);
    comm_.wait(stream_);
    return cuda::elapsed_us(begin_, end_) / kBurst;
  }

 private:
  void exchange_all() {
    for (int call = 0; call < kBurst; ++call)
      comm_.exchange_on(stream_, messages_.sends, messages_.receives, {.operation = "alltoallv"});
  }

  cuda::NcclCommunicator& comm_;
  cuda::Stream& stream_;
  Messages lead_, messages_;
  cuda::Event begin_{cuda::EventTiming::on}, end_{cuda::EventTiming::on};
  std::unique_ptr<CapturedSteps> graph_{};
};

/// All patterns of one size, in turns; every round begins with another one.
void time_size(Board& board, std::vector<std::unique_ptr<Burst>> const& bursts, std::int64_t total) {
  std::vector<std::vector<double>> samples(bursts.size());
  for (int round = -kWarmups; round < kSamples; ++round)
    for (std::size_t turn = 0; turn < bursts.size(); ++turn) {
      std::size_t const pattern = (turn + static_cast<std::size_t>(round + kWarmups)) % bursts.size();
      double const us = bursts[pattern]->time_us();
      if (round >= 0) samples[pattern].push_back(us);
    }
  for (std::size_t pattern = 0; pattern < bursts.size(); ++pattern) board.hand_in(total, pattern, samples[pattern]);
}

void run_rank(Board& board, int port, int rank, int ranks, Issue issue) {
  if (cudaSetDevice(rank) != cudaSuccess) throw Error(ErrorCode::cuda, "no device for a rank");
  launch::ControlClient control("127.0.0.1", port, "bench", rank, ranks, std::chrono::seconds(60));
  cuda::NcclOptions options;
  options.check = CheckLevel::off;
  cuda::NcclCommunicator comm(cuda::NcclHandle::create(control.blob(), rank, ranks, std::chrono::seconds(60)), control,
                              options);
  cuda::Stream stream{};
  cuda::DeviceBuffer const send(kMost), receive(kMost * ranks);
  auto const messages = [&](char const* pattern, std::int64_t total) {
    return messages_of(pattern, ranks, rank, total, send.as<std::byte>(), receive.as<std::byte>());
  };
  try {
    for (std::int64_t const total : totals()) {
      std::vector<std::unique_ptr<Burst>> bursts;
      for (Pattern const& pattern : all_patterns())
        bursts.push_back(std::make_unique<Burst>(comm, stream, messages("peers", kPatternGrain * ranks),
                                                 messages(pattern.first, total), issue));
      time_size(board, bursts, total);
    }
    comm.barrier({.operation = "end"});
  } catch (std::exception const& error) {
    comm.fail(error.what());
    throw;
  }
}

void write(std::ofstream& file, Board const& board, int ranks, Issue issue) {
  bool const graph = issue == Issue::graph;
  file << "{\n  \"schema\": \"switchyard.alltoallv_samples/1\",\n  \"machine\": \"" << ranks << " x "
       << cuda::describe_device() << ", " << cuda::describe_nccl() << "\",\n  \"provenance\": \""
       << "switchyard_gpu_exchanges " << ranks << (graph ? " graph" : "")
       << ": one process, a thread and a GPU per rank; samples are the largest time of any rank over " << kBurst
       << " exchanges in a row" << (graph ? ", replayed as a graph" : "")
       << ", by events behind one that nobody times; patterns of a size take turns; own messages are device copies "
       << "beside the exchange\",\n  \"patterns\": {";
  char const* separator = "\n";
  for (auto const& [name, text] : all_patterns()) {
    file << separator << "    \"" << name << "\": \"" << text << "\"";
    separator = ",\n";
  }
  file << "\n  },\n  \"ranks\": " << ranks << ",\n  \"issue\": \"" << (graph ? "graph" : "host")
       << "\",\n  \"cases\": [";
  separator = "\n";
  for (auto const& [key, samples] : board.samples) {
    file << separator << "    {\"pattern\": \"" << all_patterns()[key.second].first
         << "\", \"total_bytes\": " << key.first << ", \"samples_us\": [";
    for (std::size_t i = 0; i < samples.size(); ++i) file << (i == 0 ? "" : ", ") << samples[i];
    file << "]}";
    separator = ",\n";
  }
  file << "\n  ]\n}\n";
}

void print(Board const& board) {
  for (auto const& [key, samples] : board.samples) {
    auto sorted = samples;
    std::sort(sorted.begin(), sorted.end());
    std::printf("%-14s %10lld bytes  median %9.1f us, from %.1f to %.1f\n", all_patterns()[key.second].first,
                static_cast<long long>(key.first), sorted[sorted.size() / 2], sorted.front(), sorted.back());
  }
}

/// @return whether no rank failed.
bool run_ranks(Board& board, int ranks, Issue issue) {
  launch::ControlServer server(ranks, 0, "bench", cuda::make_nccl_id());
  std::vector<std::thread> threads;
  std::vector<std::string> problems(static_cast<std::size_t>(ranks));
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] {
      try {
        run_rank(board, server.port(), rank, ranks, issue);
      } catch (std::exception const& error) {
        problems[static_cast<std::size_t>(rank)] = error.what();
      }
    });
  for (std::thread& thread : threads) thread.join();
  for (std::string const& problem : problems)
    if (!problem.empty()) std::printf("FAILED %s\n", problem.c_str());
  return std::all_of(problems.begin(), problems.end(), [](std::string const& problem) { return problem.empty(); });
}

int run(char const* path, int ranks, Issue issue) {
  std::ofstream file(path);
  if (!file.good()) {
    std::printf("cannot write %s\n", path);
    return 1;
  }
  Board board;
  if (!run_ranks(board, ranks, issue)) return 1;
  write(file, board, ranks, issue);
  print(board);
  std::printf("%zu cases written\n", board.samples.size());
  return file.flush().good() ? 0 : 1;
}

int run_program(int argc, char** argv) {
  constexpr int kSkipped = 77;
  int const ranks = argc > 2 ? std::atoi(argv[2]) : 2;
  bool const graph = argc > 3 && std::string_view(argv[3]) == "graph";
  int const devices = cuda::device_count();
  if (argc < 2 || argc > 4 || (argc == 4 && !graph) || devices == 0) {
    std::printf("usage: %s <out.json> [ranks] [graph], on a machine with a GPU per rank\n", argv[0]);
    return devices == 0 ? kSkipped : 2;
  }
  if (ranks >= 1 && ranks <= devices) return run(argv[1], ranks, graph ? Issue::graph : Issue::host);
  std::printf("%d ranks need more than %d GPUs\n", ranks, devices);
  return 1;
}

}  // namespace
}  // namespace gpu_bench

int main(int argc, char** argv) {
  try {
    return gpu_bench::run_program(argc, argv);
  } catch (std::exception const& error) {
    std::printf("FAILED %s\n", error.what());
    return 1;
  }
}
