// SPDX-License-Identifier: Apache-2.0
// Dispatch + combine of 8 emulated ranks, against a memcpy of the same payload.
//
// Every iteration is a memcpy that reads and writes the T * K * H payload once per direction (the yardstick of DESIGN
// 7 (d)), then a dispatch, then a combine of all ranks on the same cores, so that whatever else the machine does hits
// all of them alike. Counters are medians over the iterations; `ratio` is the median of (dispatch + combine) / memcpy.
// `peak_MiB` is the process's high-water mark (buffers of all ranks, the memcpy's own included).
//
// The shape is small by default; SWITCHYARD_BENCH_TOKENS and SWITCHYARD_BENCH_HIDDEN make it larger. The shape
// is 4096 x 7168: about 9 GiB.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dispatch_setting.hpp"
#include "switchyard/cpu/cpu_executor.hpp"
#include "switchyard/cpu/instruction_set.hpp"
#include "switchyard/cpu/parallel_for.hpp"
#include "switchyard/cpu/rank_group.hpp"

namespace {

using namespace switchyard;
using cpu::ExecutionPath;
using dispatch_bench::kRanks;
using dispatch_bench::kTopK;

std::int64_t tokens_per_rank() {
  return dispatch_bench::from_environment("SWITCHYARD_BENCH_TOKENS", 256);
}
std::int64_t hidden_size() {
  return dispatch_bench::from_environment("SWITCHYARD_BENCH_HIDDEN", 1024);
}

/// What a benchmark varies.
struct Variant {
  DispatchFamily family = DispatchFamily::megatron_alltoall;
  ExecutionPath path = ExecutionPath::composed;
  CombineRecipe recipe{};
  std::optional<cpu::InstructionSet> set{};
};

/// One rank's buffers, filled once, and as much memory again for the memcpy to copy its rows to and from.
struct RankMemory {
  std::vector<bf16_t> tokens, rows, combined, copied;
  RankMemory(DispatchPlan const& plan, std::int64_t hidden)
      : tokens(static_cast<std::size_t>(plan.num_tokens * hidden), bf16_t{0x3f80}),
        rows(static_cast<std::size_t>(plan.num_expert_rows() * hidden)),
        combined(tokens.size()),
        copied(rows.size()) {}
};

void copy_all(std::vector<bf16_t> const& from, std::vector<bf16_t>& to) {
  auto const count = static_cast<std::int64_t>(from.size());
  cpu::parallel_for(count, 1 << 19, [&](std::int64_t begin, std::int64_t end) {
    std::memcpy(to.data() + begin, from.data() + begin, static_cast<std::size_t>(end - begin) * sizeof(bf16_t));
  });
  benchmark::ClobberMemory();
}

/// Milliseconds of the last round and of all rounds.
class Stopwatch {
 public:
  template <typename Work>
  double time(Work const& work) {
    auto const start = std::chrono::steady_clock::now();
    work();
    samples_.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
    return samples_.back();
  }
  void add(double sample) { samples_.push_back(sample); }
  [[nodiscard]] double median() {
    if (samples_.empty()) return 0;
    auto const middle = samples_.begin() + static_cast<std::ptrdiff_t>(samples_.size() / 2);
    std::nth_element(samples_.begin(), middle, samples_.end());
    return *middle;
  }

 private:
  std::vector<double> samples_;
};

double peak_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    if (word != "VmHWM:") continue;
    double kib = 0;
    status >> kib;
    return kib / 1024;
  }
  return 0;
}

/// One rank's part of a round.
class RankRound {
 public:
  RankRound(Communicator& comm, ExecutionPath path, DispatchPlan const& plan, RoutingMap const& routing,
            RankMemory& memory, std::int64_t hidden)
      : executor_(comm, path), plan_(plan), routing_(routing), memory_(memory), hidden_(hidden) {}

  void dispatch() {
    executor_.dispatch(plan_,
                       ConstTensorView::matrix(std::span<bf16_t const>(memory_.tokens), plan_.num_tokens, hidden_),
                       TensorView::matrix(std::span(memory_.rows), plan_.num_expert_rows(), hidden_));
  }
  void combine(CombineRecipe const& recipe) {
    executor_.combine(plan_, recipe,
                      ConstTensorView::matrix(std::span<bf16_t const>(memory_.rows), plan_.num_expert_rows(), hidden_),
                      routing_.weights(), TensorView::matrix(std::span(memory_.combined), plan_.num_tokens, hidden_));
  }

 private:
  cpu::CpuExecutor executor_;
  DispatchPlan const& plan_;
  RoutingMap const& routing_;
  RankMemory& memory_;
  std::int64_t hidden_;
};

struct Times {
  Stopwatch copy, dispatch, combine, ratio;
};

/// The loop of one rank. Rank 0 owns the benchmark's clock; the others follow its word. Ranks are fibers of one thread,
/// so between two barriers rank 0's clock sees the work of all of them.
void run_rank(benchmark::State& state, Variant const& variant, Communicator& comm, RankRound& round,
              std::vector<RankMemory>& memory, Times& times) {
  bool const leads = comm.rank() == RankId{0};
  bool running = true;
  for (bool warm = false; running; warm = true) {
    std::int64_t const mine = leads && (!warm || state.KeepRunning()) ? 1 : 0;
    running = all_gather_i64(comm, std::span(&mine, 1)).front() == 1;
    if (!running) return;
    Times first;
    Times& now = warm ? times : first;
    double copy = 0;
    if (leads) {
      copy = now.copy.time([&] {
        for (auto& rank : memory) copy_all(rank.rows, rank.copied);
        for (auto& rank : memory) copy_all(rank.copied, rank.rows);
      });
    }
    comm.barrier();
    double const dispatched = now.dispatch.time([&] { round.dispatch(), comm.barrier(); });
    double const combined = now.combine.time([&] { round.combine(variant.recipe), comm.barrier(); });
    if (!leads || !warm) continue;
    now.ratio.add((dispatched + combined) / copy);
    state.SetIterationTime((dispatched + combined) / 1e3);
  }
}

void dispatch_combine(benchmark::State& state, Variant const& variant) {
  cpu::force_instruction_set(variant.set);
  auto const hidden = hidden_size();
  dispatch_bench::Setting const setting(tokens_per_rank());
  auto const plans = setting.plans(variant.family);
  std::vector<RankMemory> memory;
  for (auto const& plan : plans) memory.emplace_back(plan, hidden);
  std::vector<Times> times(kRanks);
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, kRanks, {}, [&](Communicator& comm) {
    auto const rank = comm.rank().index();
    RankRound round(comm, variant.path, plans[rank], setting.routings[rank], memory[rank], hidden);
    run_rank(state, variant, comm, round, memory, times[rank]);
  });
  state.counters["memcpy_ms"] = times[0].copy.median();
  state.counters["dispatch_ms"] = times[0].dispatch.median();
  state.counters["combine_ms"] = times[0].combine.median();
  state.counters["ratio"] = times[0].ratio.median();
  state.counters["peak_MiB"] = peak_mib();
  cpu::force_instruction_set({});
}

void add(std::string const& name, Variant const& variant) {
  benchmark::RegisterBenchmark(name.c_str(), dispatch_combine, variant)->UseManualTime()->Unit(benchmark::kMillisecond);
}

/// The recipes of the default family, the families with the default recipe, partial sums, and the staged path.
[[maybe_unused]] bool const registered = [] {
  for (auto const family : dispatch_bench::kFamilies) {
    std::string const name(to_string(family));
    add("composed/" + name, {.family = family});
    add("staged/" + name, {.family = family, .path = ExecutionPath::staged});
  }
  for (auto const family : {DispatchFamily::megatron_allgather, DispatchFamily::megatron_flex})
    add("rank_partial/" + std::string(to_string(family)), {.family = family, .recipe = CombineRecipe::rank_partial()});
  add("recipe/exact", {.recipe = CombineRecipe::exact()});
  add("recipe/megablocks", {.recipe = CombineRecipe::megablocks()});
  for (auto const set : cpu::available_instruction_sets()) add("set/" + std::string(to_string(set)), {.set = set});
  return true;
}();

}  // namespace
