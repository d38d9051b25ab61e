// SPDX-License-Identifier: Apache-2.0
// Prints the tables of docs/scoreboard.md: policies x seeded instances. `scoreboard [quality|drift|exact|speed]...`
// prints the named tables, without arguments all of them.
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "scoreboard_case.hpp"
#include "switchyard/placement/balanced.hpp"
#include "switchyard/placement/bounds.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/incremental.hpp"
#include "switchyard/placement/policy.hpp"

namespace {

using namespace switchyard;
using scoreboard::Instance;
using scoreboard::LoadPair;

constexpr int kSeeds = 20;

/// Sums over seeds.
struct Tally {
  double par = 0;
  double bound = 0;
  double ratio = 0;
  double worst_ratio = 0;
  double moves = 0;
  double fewest_moves = 0;
  double replica_floor = 0;
  double rounds = 0;
  double milliseconds = 0;
};

/// Processor time of this thread's work: other programs on the machine do not count.
double milliseconds_of(std::function<void()> const& work) {
  auto const start = std::clock();
  work();
  return static_cast<double>(std::clock() - start) * 1e3 / CLOCKS_PER_SEC;
}

PolicyRequest request_of(Instance const& instance) {
  return {instance.ranks, instance.slots, 1, 1};
}

void add_balance(Tally& tally, ExpertLoad const& load, ExpertPlacement const& placement) {
  auto const bounds = balance_bounds(load.at(0, 0), placement, 0);
  tally.par += bounds.achieved / bounds.mean;
  tally.bound += bounds.even_split / bounds.mean;
  tally.ratio += bounds.achieved / bounds.even_split;
  tally.worst_ratio = std::max(tally.worst_ratio, bounds.achieved / bounds.even_split);
}

/// Runs a policy over the seeds on the loads after the drift.
Tally run_policy(Instance const& instance, std::string_view policy) {
  Tally tally;
  auto const maker = make_policy(policy);
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    LoadPair const loads = draw_loads(instance, seed);
    ExpertPlacement placement;
    tally.milliseconds += milliseconds_of([&] { placement = maker->place(loads.after, request_of(instance)); });
    add_balance(tally, loads.after, placement);
  }
  return tally;
}

void print_quality() {
  fmt::print(
      "| GPUs | slots | sigma | deepseek | vllm | sglang-vec | tensorrt-llm | balanced | bound | balanced / bound "
      "(worst) |\n|---|---|---|---|---|---|---|---|---|---|\n");
  for (auto const& [ranks, slots] : std::vector<std::pair<int, int>>{{32, 256},
                                                                     {8, 288},
                                                                     {16, 320},
                                                                     {32, 288},
                                                                     {36, 288},
                                                                     {64, 320},
                                                                     {72, 288},
                                                                     {64, 512},
                                                                     {144, 288},
                                                                     {144, 432}}) {
    for (double const sigma : {0.2, 0.5, 0.7, 1.0, 1.2}) {
      Instance const instance{ranks, slots, 256, 1, sigma, 0};
      std::string peers;
      for (std::string_view const name : {"deepseek-global", "vllm", "sglang-vec", "tensorrt-llm"}) {
        peers += fmt::format(" {:.4f} |", run_policy(instance, name).par / kSeeds);
      }
      Tally const own = run_policy(instance, "balanced");
      fmt::print("| {} | {} | {} |{} **{:.4f}** | {:.4f} | {:.4f} ({:.4f}) |\n", ranks, slots, sigma, peers,
                 own.par / kSeeds, own.bound / kSeeds, own.ratio / kSeeds, own.worst_ratio);
    }
  }
}

void add_moves(Tally& tally, ExpertPlacement const& before, ExpertPlacement const& after) {
  auto const bounds = migration_bounds(before, after, 0);
  tally.moves += static_cast<double>(bounds.fetches);
  tally.fewest_moves += static_cast<double>(bounds.fewest_fetches);
  tally.replica_floor += static_cast<double>(bounds.replica_floor);
  tally.rounds += static_cast<double>(bounds.rounds);
}

using Replan = std::function<ExpertPlacement(ExpertLoad const&, PolicyRequest const&)>;

/// The placement in use is DeepSeek's for the loads before the drift.
Tally run_replan(Instance const& instance, Replan const& replan) {
  Tally tally;
  for (std::uint64_t seed = 1; seed <= kSeeds; ++seed) {
    LoadPair const loads = draw_loads(instance, seed);
    PolicyRequest request = request_of(instance);
    auto const current =
        std::make_shared<ExpertPlacement const>(make_policy("deepseek-global")->place(loads.before, request));
    request.current = current;
    ExpertPlacement after;
    tally.milliseconds += milliseconds_of([&] { after = replan(loads.after, request); });
    add_balance(tally, loads.after, after);
    add_moves(tally, *current, after);
  }
  return tally;
}

Replan with_policy(std::string_view name, bool keeps_current) {
  return [name, keeps_current](ExpertLoad const& load, PolicyRequest request) {
    if (!keeps_current) request.current = nullptr;
    return make_policy(name)->place(load, request);
  };
}

Replan with_moves(std::int64_t max_moves) {
  return [max_moves](ExpertLoad const& load, PolicyRequest const& request) {
    IncrementalOptions options;
    if (max_moves >= 0) options.limits.max_moves_per_layer = max_moves;
    return improve_placement(load, request, options).placement;
  };
}

void print_replan(Instance const& instance, std::string const& name, Replan const& replan) {
  Tally const tally = run_replan(instance, replan);
  fmt::print("| {} | {} | {} | {} | {:.4f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} | {:.1f} |\n", instance.ranks,
             instance.slots, instance.drift, name, tally.par / kSeeds, tally.moves / kSeeds,
             tally.fewest_moves / kSeeds, tally.replica_floor / kSeeds, tally.rounds / kSeeds,
             tally.milliseconds / kSeeds);
}

void print_drift() {
  fmt::print(
      "| GPUs | slots | drift | plan | PAR | fetches | fewest with ranks renamed | replica floor | rounds at least "
      "| ms per layer |\n|---|---|---|---|---|---|---|---|---|---|\n");
  for (auto const& [ranks, drift] : std::vector<std::pair<int, double>>{
           {16, 0.2}, {32, 0.05}, {32, 0.1}, {32, 0.2}, {32, 0.4}, {72, 0.1}, {72, 0.2}, {144, 0.2}}) {
    Instance const instance{ranks, 288, 256, 1, 0.7, drift};
    print_replan(instance, "keep", [](ExpertLoad const&, PolicyRequest const& request) { return *request.current; });
    print_replan(instance, "deepseek", with_policy("deepseek-global", false));
    print_replan(instance, "vllm (slots kept)", with_policy("vllm", true));
    print_replan(instance, "swift", with_policy("swift", true));
    print_replan(instance, "balanced, ranks renamed", with_policy("balanced", true));
    for (std::int64_t const moves : {8, 16, 32, 64, 93}) {
      print_replan(instance, fmt::format("incremental, {} moves", moves), with_moves(moves));
    }
    print_replan(instance, "incremental, no limit", with_moves(-1));
  }
}

void print_flashlb() {
  ExpertLoad const load(1, 1, 8, {600, 560, 120, 120, 20, 10, 10, 10});
  auto const plan = balance(load, {8, 16, 1, 1});
  fmt::print("| plan | largest rank load | PAR |\n|---|---|---|\n| deepseek | {:.2f} | {:.4f} |\n",
             plan.layers[0].deepseek_max_figure, plan.layers[0].deepseek_max_figure * 8 / 1450);
  fmt::print("| FlashLB, as published | 205.00 | {:.4f} |\n| **balanced** = the exact optimum | {:.2f} | {:.4f} |\n",
             205.0 * 8 / 1450, plan.layers[0].max_figure, plan.layers[0].max_figure * 8 / 1450);
}

struct Job {
  std::string name;
  std::function<void()> work;
};

void print_jobs(Instance const& instance, std::vector<Job> const& jobs) {
  for (Job const& job : jobs) {
    std::vector<double> times;
    for (int i = 0; i < 3; ++i) times.push_back(milliseconds_of(job.work));
    std::sort(times.begin(), times.end());
    fmt::print("| {} | {} | {} | {} | {} | {:.1f} |\n", instance.layers, instance.experts, instance.ranks,
               instance.slots, job.name, times[1]);
    std::fflush(stdout);
  }
}

void bound_all(ExpertLoad const& load, ExpertPlacement const& plan, bool with_split) {
  for (int layer = 0; layer < plan.num_layers(); ++layer)
    (void)balance_bounds(load.at(0, layer), plan, layer, {}, with_split);
}

void print_speed_of(Instance const& instance) {
  LoadPair const loads = draw_loads(instance, 1);
  PolicyRequest request = request_of(instance);
  auto const fast = make_policy("deepseek-global");
  auto const before = std::make_shared<ExpertPlacement const>(fast->place(loads.before, request));
  auto const after = fast->place(loads.after, request);
  PolicyRequest improve = request;
  improve.current = before;
  IncrementalOptions few;
  few.limits.max_moves_per_layer = 32;
  std::vector<Job> const jobs{
      {"deepseek + mean and replica bounds", [&] { bound_all(loads.after, fast->place(loads.after, request), false); }},
      {"balanced", [&] { (void)balance(loads.after, request); }},
      {"incremental, 32 moves per layer", [&] { (void)improve_placement(loads.after, improve, few); }},
      {"exact fractional bound", [&] { bound_all(loads.after, after, true); }},
      {"migration bounds (assignment, degrees)", [&] {
         for (int l = 0; l < instance.layers; ++l) (void)migration_bounds(*before, after, l);
       }}};
  print_jobs(instance, jobs);
}

void print_speed() {
  fmt::print("| layers | experts | GPUs | slots | what | ms |\n|---|---|---|---|---|---|\n");
  for (int const ranks : {32, 72, 144}) print_speed_of({ranks, 288, 256, 58, 0.7, 0.2});
  print_speed_of({144, 432, 256, 58, 0.7, 0.2});
  print_speed_of({512, 1536, 1024, 1, 0.7, 0.2});
  print_speed_of({4096, 4096 * 2, 4096, 1, 0.7, 0.2});
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  fmt::print("\nLargest memory of the process so far: {} MiB\n", used.ru_maxrss / 1024);
}

struct Table {
  std::string_view name;
  void (*print)();
};

constexpr std::array kTables = {Table{"quality", print_quality}, Table{"drift", print_drift},
                                Table{"exact", print_flashlb}, Table{"speed", print_speed}};

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string_view> const wanted(argv + 1, argv + argc);
  for (Table const& table : kTables) {
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), table.name) != wanted.end()) {
      fmt::print("\n### {}\n", table.name);
      table.print();
      std::fflush(stdout);
    }
  }
  return 0;
}
