// SPDX-License-Identifier: Apache-2.0
// Dispatch + combine of 8 emulated ranks, and planning.
//
// `dispatch_combine` reports the time of one round trip over all ranks; `memcpy_round_trip` reads and writes the same
// T * K * H payload once per direction on the same cores, and is what DESIGN 7 (d) compares with. The shape is small by
// default; SWITCHYARD_BENCH_TOKENS and SWITCHYARD_BENCH_HIDDEN make it larger.
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/cpu/rank_group.hpp"
#include "switchyard/dispatch/alltoall_planner.hpp"
#include "switchyard/types/counter_rng.hpp"

namespace {

using namespace switchyard;

constexpr int kRanks = 8;
constexpr int kExperts = 256;
constexpr int kTopK = 8;

std::int64_t from_environment(char const* name, std::int64_t otherwise) {
  char const* const text = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): before any thread starts
  return text != nullptr ? std::atoll(text) : otherwise;
}
std::int64_t tokens_per_rank() {
  return from_environment("SWITCHYARD_BENCH_TOKENS", 256);
}
std::int64_t hidden_size() {
  return from_environment("SWITCHYARD_BENCH_HIDDEN", 1024);
}

/// Uniform routing without repeated experts: a random start and an odd stride.
RoutingMap uniform_routing(int rank, std::int64_t tokens) {
  CounterRng const rng(1, static_cast<std::uint64_t>(rank));
  std::vector<std::int32_t> ids;
  for (std::int64_t token = 0; token < tokens; ++token) {
    auto const start = rng.below(static_cast<std::uint64_t>(2 * token), kExperts);
    auto const stride = 2 * rng.below(static_cast<std::uint64_t>(2 * token + 1), kExperts / 2) + 1;
    for (std::uint64_t k = 0; k < kTopK; ++k)
      ids.push_back(static_cast<std::int32_t>((start + k * stride) % static_cast<std::uint64_t>(kExperts)));
  }
  std::vector<float> weights(ids.size(), 1.0F / kTopK);
  return RoutingMap::from_topk(tokens, kExperts, kTopK, std::move(ids), std::move(weights));
}

struct Setting {
  AllToAllConfig config{};
  ExpertPlacement placement = ExpertPlacement::contiguous(1, kExperts, kRanks);
  std::vector<RoutingMap> routings;
  std::vector<DispatchPlan> plans;

  explicit Setting(std::int64_t tokens) {
    config.grid = {1, kRanks};
    for (int rank = 0; rank < kRanks; ++rank) routings.push_back(uniform_routing(rank, tokens));
    plans = plan_alltoall_group(config, routings, placement, 0);
  }
};

/// One rank's buffers, filled once, and its executor's scratch memory, kept between rounds.
struct RankMemory {
  std::vector<bf16_t> tokens, rows, combined;
  RankMemory(DispatchPlan const& plan, std::int64_t hidden)
      : tokens(static_cast<std::size_t>(plan.num_tokens * hidden), bf16_t{0x3f80}),
        rows(static_cast<std::size_t>(plan.num_expert_rows() * hidden)),
        combined(tokens.size()) {}
};

void round_trip(cpu::CpuExecutor& executor, DispatchPlan const& plan, RoutingMap const& routing, RankMemory& memory,
                std::int64_t hidden) {
  auto const rows = plan.num_expert_rows();
  executor.dispatch(plan, ConstTensorView::matrix(std::span<bf16_t const>(memory.tokens), plan.num_tokens, hidden),
                    TensorView::matrix(std::span(memory.rows), rows, hidden));
  executor.combine(plan, CombineRecipe::source_slot_order(),
                   ConstTensorView::matrix(std::span<bf16_t const>(memory.rows), rows, hidden), routing.weights(),
                   TensorView::matrix(std::span(memory.combined), plan.num_tokens, hidden));
}

/// Bytes of the T * K * H payload of all ranks.
std::int64_t payload_bytes(std::int64_t tokens, std::int64_t hidden) {
  return kRanks * tokens * kTopK * hidden * size_of(DType::bf16);
}

/// Every iteration is one round trip of all ranks; ranks stay alive so that scratch memory is warm.
void dispatch_combine(benchmark::State& state, cpu::InstructionSet set) {
  cpu::force_instruction_set(set);
  auto const tokens = tokens_per_rank();
  auto const hidden = hidden_size();
  Setting const setting(tokens);
  std::vector<RankMemory> memory;
  for (auto const& plan : setting.plans) memory.emplace_back(plan, hidden);
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, kRanks, {}, [&](Communicator& comm) {
    auto const rank = comm.rank().index();
    cpu::CpuExecutor executor(comm);
    round_trip(executor, setting.plans[rank], setting.routings[rank], memory[rank], hidden);  // warm up
    bool running = true;
    while (running) {
      // Rank 0 owns the benchmark's clock; the others follow its word.
      std::int64_t const mine = comm.rank() == RankId{0} && state.KeepRunning() ? 1 : 0;
      running = all_gather_i64(comm, std::span(&mine, 1)).front() == 1;
      if (running) round_trip(executor, setting.plans[rank], setting.routings[rank], memory[rank], hidden);
    }
  });
  state.SetBytesProcessed(state.iterations() * 4 * payload_bytes(tokens, hidden));
  cpu::force_instruction_set({});
}

/// The yardstick: the payload read and written once per direction.
void memcpy_round_trip(benchmark::State& state) {
  auto const bytes = payload_bytes(tokens_per_rank(), hidden_size());
  std::vector<std::byte> source(static_cast<std::size_t>(bytes), std::byte{1});
  std::vector<std::byte> target(source.size(), std::byte{2});
  auto const copy = [&](std::vector<std::byte> const& from, std::vector<std::byte>& to) {
    cpu::parallel_for(bytes, 1 << 20, [&](std::int64_t begin, std::int64_t end) {
      std::memcpy(to.data() + begin, from.data() + begin, static_cast<std::size_t>(end - begin));
    });
    benchmark::ClobberMemory();
  };
  for (auto _ : state) {
    copy(source, target);
    copy(target, source);
  }
  state.SetBytesProcessed(state.iterations() * 4 * bytes);
}
BENCHMARK(memcpy_round_trip)->UseRealTime()->Unit(benchmark::kMillisecond);

/// Planning of one rank: both pure steps, counts given.
void plan_one_rank(benchmark::State& state) {
  Setting const setting(state.range(0));
  std::vector<std::int64_t> counts;
  for (auto const& plan : setting.plans)
    counts.insert(counts.end(), plan.rows_per_slot.begin(), plan.rows_per_slot.end());
  for (auto _ : state)
    benchmark::DoNotOptimize(
        plan_alltoall(setting.config, assign_rows(setting.config, RankId{3}, setting.routings[3], setting.placement, 0),
                      setting.placement, 0, counts));
}
BENCHMARK(plan_one_rank)->Arg(256)->Arg(4096)->Unit(benchmark::kMillisecond);

[[maybe_unused]] bool const registered = [] {
  for (auto const set : cpu::available_instruction_sets())
    benchmark::RegisterBenchmark(("dispatch_combine/" + std::string(to_string(set))).c_str(), dispatch_combine, set)
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  return true;
}();

}  // namespace
