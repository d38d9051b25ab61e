// SPDX-License-Identifier: Apache-2.0
// switchyard_gpu_alltoallv <out.json> [ranks]: bare all-to-alls of even and uneven sizes over NCCL, as the simulator's
// validation reads them; one process, one thread and one GPU per rank (default 2). A sample is the largest time of any
// rank, by events around kBurst exchanges in a row, over kBurst: ranks start microseconds apart, and a single exchange
// would mostly say how far.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <mutex>

#include "alltoallv_patterns.hpp"
#include "bench_program.hpp"
#include "rank_threads.hpp"
#include "switchyard/cuda/device.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/cuda/nccl_communicator.hpp"

namespace gpu_bench {
namespace {

using namespace switchyard;  // NOLINT: a program, not a header

constexpr int kSamples = 30;
constexpr int kWarmups = 3;
constexpr int kBurst = 20;
constexpr std::int64_t kLeast = std::int64_t{64} << 10;
constexpr std::int64_t kMost = std::int64_t{256} << 20;

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

std::vector<double> sample(cuda::NcclCommunicator& comm, cuda::Stream& stream, Messages const& messages) {
  cuda::Event begin{cuda::EventTiming::on}, end{cuda::EventTiming::on};
  std::vector<double> samples;
  for (int i = -kWarmups; i < kSamples; ++i) {
    stream.view().synchronize();
    comm.barrier({.operation = "sample"});
    begin.view().record(stream);
    for (int call = 0; call < kBurst; ++call)
      comm.exchange_on(stream, messages.sends, messages.receives, {.operation = "alltoallv"});
    end.view().record(stream);
    comm.wait(stream);
    if (i >= 0) samples.push_back(cuda::elapsed_us(begin, end) / kBurst);
  }
  return samples;
}

void run_rank(Board& board, int port, int rank, int ranks) {
  if (cudaSetDevice(rank) != cudaSuccess) throw Error(ErrorCode::cuda, "no device for a rank");
  launch::ControlClient control("127.0.0.1", port, "bench", rank, ranks, std::chrono::seconds(60));
  cuda::NcclOptions options;
  options.check = CheckLevel::off;
  cuda::NcclCommunicator comm(cuda::NcclHandle::create(control.blob(), rank, ranks, std::chrono::seconds(60)), control,
                              options);
  cuda::Stream stream{};
  cuda::DeviceBuffer const send(kMost), receive(kMost * ranks);
  try {
    for (std::int64_t total = kLeast; total <= kMost; total *= 2)
      for (std::size_t pattern = 0; pattern < std::size(kPatterns); ++pattern) {
        auto const messages =
            messages_of(kPatterns[pattern].first, ranks, rank, total, send.as<std::byte>(), receive.as<std::byte>());
        board.hand_in(total, pattern, sample(comm, stream, messages));
      }
    comm.barrier({.operation = "end"});
  } catch (std::exception const& error) {
    comm.fail(error.what());
    throw;
  }
}

void write(std::ofstream& file, Board const& board, int ranks) {
  file << "{\n  \"schema\": \"switchyard.alltoallv_samples/1\",\n  \"machine\": \"" << ranks << " x "
       << cuda::describe_device() << ", " << cuda::describe_nccl()
       << "\",\n  \"provenance\": \"switchyard_gpu_alltoallv " << ranks
       << ": one process, a thread and a GPU per rank; samples are the largest time of any rank over " << kBurst
       << " exchanges in a row, by events; own messages are device copies beside the exchange\",\n  \"patterns\": {";
  char const* separator = "\n";
  for (auto const& [name, text] : kPatterns) {
    file << separator << "    \"" << name << "\": \"" << text << "\"";
    separator = ",\n";
  }
  file << "\n  },\n  \"ranks\": " << ranks << ",\n  \"cases\": [";
  separator = "\n";
  for (auto const& [key, samples] : board.samples) {
    file << separator << "    {\"pattern\": \"" << kPatterns[key.second].first << "\", \"total_bytes\": " << key.first
         << ", \"samples_us\": [";
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
    std::printf("%-14s %10lld bytes  median %9.1f us, from %.1f to %.1f\n", kPatterns[key.second].first,
                static_cast<long long>(key.first), sorted[sorted.size() / 2], sorted.front(), sorted.back());
  }
}

int run(char const* path, int ranks) {
  std::ofstream file(path);
  if (!file.good()) {
    std::printf("cannot write %s\n", path);
    return 1;
  }
  Board board;
  if (!run_rank_threads(ranks, [&](int port, int rank) { run_rank(board, port, rank, ranks); })) return 1;
  write(file, board, ranks);
  print(board);
  std::printf("%zu cases written\n", board.samples.size());
  return file.flush().good() ? 0 : 1;
}

}  // namespace
}  // namespace gpu_bench

int main(int argc, char** argv) {
  return gpu_bench::run_rank_program(argc, argv, gpu_bench::run);
}
