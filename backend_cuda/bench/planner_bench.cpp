// SPDX-License-Identifier: Apache-2.0
// bench_planner(): the device planner of rank 0 without the exchange of announcements, whose blocks
// are in place before the first sample: launched kernel by kernel, and as a replay of a captured graph. Beside it a
// kernel that does nothing worth a microsecond, and how long the plan's bytes take at the bandwidth of a device copy.
#include <cuda_runtime_api.h>

#include <cstdio>
#include <random>

#include "captured_steps.hpp"
#include "gpu_benches.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/cuda/event.hpp"
#include "switchyard/types/error.hpp"

namespace gpu_bench {
namespace {

namespace cuda = switchyard::cuda;
using switchyard::DispatchFamily;

constexpr int kExperts = 256;
constexpr int kTopK = 8;

std::vector<std::int32_t> draw_ids(std::int64_t tokens, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<std::int32_t> ids;
  for (std::int64_t token = 0; token < tokens; ++token) {
    auto const first = static_cast<std::int32_t>(random() % kExperts);
    auto const step = 1 + 2 * static_cast<std::int32_t>(random() % (kExperts / 2));  // odd: no expert twice
    for (std::int32_t k = 0; k < kTopK; ++k) ids.push_back((first + k * step) % kExperts);
  }
  return ids;
}

/// Planners of all ranks whose announcements are in place.
struct Group {
  Group(DispatchFamily family, int ranks, std::int64_t tokens, cuda::StreamView stream) {
    cuda::DevicePlannerConfig config;
    config.family = family;
    config.grid = {1, ranks};
    config.columns = kTopK;
    config.max_tokens = tokens;
    auto const placement = switchyard::ExpertPlacement::contiguous(1, kExperts, ranks);
    for (int rank = 0; rank < ranks; ++rank) {
      planners.emplace_back(config, switchyard::RankId{rank}, placement, 0);
      ids.push_back(cuda::upload(draw_ids(tokens, static_cast<std::uint64_t>(rank) + 1), stream));
      planners.back().assign({ids.back().as<std::int32_t const>(), nullptr, nullptr, tokens}, stream);
      auto const bytes = static_cast<std::size_t>(planners.front().announcement_bytes());
      if (rank > 0)
        static_cast<void>(cudaMemcpyAsync(
            static_cast<std::byte*>(planners.front().announcements()) + static_cast<std::size_t>(rank) * bytes,
            planners.back().announcement(), bytes, cudaMemcpyDeviceToDevice, stream.handle()));
    }
    stream.synchronize();
  }
  std::vector<cuda::DevicePlanner> planners;
  std::vector<cuda::DeviceBuffer> ids;
};

/// Routing read and lists written by rank 0 when all experts are chosen equally often.
double bytes_of_plan(DispatchFamily family, int ranks, std::int64_t tokens) {
  auto const choices = static_cast<double>(tokens) * kTopK;
  double const own = choices * (4 + 4 + 3 * 8);
  if (family == DispatchFamily::megatron_alltoall) return own;
  return own + choices * ranks * 4 + choices * 3 * 8;
}

void bench_case(Results& results, KernelTimer& timer, DispatchFamily family, int ranks, std::int64_t tokens,
                double copy_gbs) {
  auto const stream = timer.stream();
  Group group(family, ranks, tokens, stream);
  cuda::DevicePlanner& planner = group.planners.front();
  cuda::DeviceBuffer const result(sizeof(std::uint64_t));
  cuda::DeviceRouting const routing{group.ids.front().as<std::int32_t const>(), nullptr, nullptr, tokens};
  auto const plan = [&] {
    planner.assign(routing, stream);
    planner.plan(stream);
  };
  auto const digest = [&] { planner.fingerprint(result.as<std::uint64_t>(), stream); };
  std::string const name = std::string(switchyard::to_string(family)) + " " + std::to_string(ranks) + " ranks, " +
                           std::to_string(tokens) + " tokens";
  std::vector<std::pair<std::string, double>> const fields{{"tokens", static_cast<double>(tokens)},
                                                           {"ranks", static_cast<double>(ranks)}};
  double const bytes = bytes_of_plan(family, ranks, tokens);
  results.add("plan " + name, fields, bytes, copy_gbs, timer.sample(plan));
  CapturedSteps const graph(stream, plan);
  results.add("plan, graph " + name, fields, bytes, copy_gbs, timer.sample([&] { graph.launch(); }));
  CapturedSteps const both(stream, [&] {
    plan();
    digest();
  });
  results.add("plan and fingerprint, graph " + name, fields, bytes, copy_gbs, timer.sample([&] { both.launch(); }));
  planner.check(stream);
}

}  // namespace

void bench_planner(Results& results, KernelTimer& timer) {
  auto const stream = timer.stream();
  constexpr std::int64_t kCopied = 256 << 20;
  cuda::DeviceBuffer const from(kCopied);
  cuda::DeviceBuffer const to(kCopied);
  cuda::DeviceBuffer const word(sizeof(std::uint64_t));
  auto const copy = timer.sample([&] { cuda::copy_device(from, to, stream); });
  double const copy_gbs = 2.0 * kCopied / median(copy) * 1e-3;
  results.add("device copy", {}, 2.0 * kCopied, copy_gbs, copy);
  auto const touch = [&] { cuda::fill_bytes(word, 0, stream); };
  results.add("one launch", {}, 0, 0, timer.sample(touch));
  CapturedSteps const graph(stream, [&] {
    for (int i = 0; i < 4; ++i) touch();
  });
  results.add("four launches, graph", {}, 0, 0, timer.sample([&] { graph.launch(); }));
  for (std::int64_t const tokens : {128, 4096, 32768})
    for (int const ranks : {1, 2, 8})
      for (auto const family :
           {DispatchFamily::megatron_alltoall, DispatchFamily::megatron_allgather, DispatchFamily::megatron_flex})
        bench_case(results, timer, family, ranks, tokens, copy_gbs);
}

}  // namespace gpu_bench
