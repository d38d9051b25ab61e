// SPDX-License-Identifier: Apache-2.0
// switchyard_cuda_router: the router on the GPU against core's, bit for bit: choices, weights and gradients, launched
// and as the replay of a graph after the inputs were replaced; faults by their texts. SWITCHYARD_CASES=n takes few
// cases, for slow tools.
//
// By hand: logits 1 1 0, top-2, softmax_pre: experts 0 and 1 (a tie, lower index first), both with weight
// e / (2e + 1) = 0.4223188.
#include <cstdio>
#include <string>
#include <vector>

#include "cuda_router_cases.hpp"
#include "few_cases.hpp"
#include "gpu_program.hpp"
#include "graph_replay.hpp"
#include "switchyard/cuda/device.hpp"

namespace cross_backend {
namespace {

using switchyard::GroupLimit;
using switchyard::NanPolicy;
using switchyard::Normalisation;
using switchyard::RouterRounding;
using switchyard::ScoreFunction;

void check_worked_example(BitReport& report) {
  RouterCase run;
  run.config.score_function = ScoreFunction::softmax_pre;
  run.config.top_k = 2;
  run.experts = 3;
  RouterInputs in(run);
  in.values = {1.0F, 1.0F, 0.0F};
  in.logits = bytes_in(run.dtype, in.values);
  DeviceRun device(run, in);
  device.forward();
  device.backward();
  RouterResults const gpu = device.results();
  report.state(gpu.ids == std::vector<std::int32_t>{0, 1} && gpu.weights[0] == gpu.weights[1] &&
                   gpu.weights[0] > 0.42231F && gpu.weights[0] < 0.42232F,
               "the worked example: weight " + std::to_string(gpu.weights[0]));
  compare_routes(report, "the worked example", run, results_of_host(run, in), gpu);
}

/// Launched; then captured, and replayed over other inputs.
void check_case(BitReport& report, RouterCase const& run, bool captures) {
  RouterInputs const in(run);
  DeviceRun device(run, in);
  device.forward();
  device.backward();
  compare_routes(report, run.name(), run, results_of_host(run, in), device.results());
  if (captures) {
    RouterCase other = run;
    other.seed += 1000;
    RouterInputs const others(other);
    device.replace(others);
    report.state(replay(device.stream(), 2,
                        [&] {
                          device.forward();
                          device.backward();
                        }),
                 run.name() + ": captured in global mode and replayed");
    compare_routes(report, run.name() + ", replayed", run, results_of_host(other, others), device.results());
  }
  device.router().check(device.stream());
}

constexpr DType kDTypes[] = {DType::f32, DType::bf16, DType::f16};

/// Sizes that hold top_k, dtypes and data in turn.
void check_functions_and_sizes(BitReport& report) {
  std::uint64_t seed = 0;
  for (int const experts : {1, 3, 8, 60, 64, 256, 1000})
    for (int const top_k : {1, 2, 8, 33})
      for (auto const function : {ScoreFunction::softmax_pre, ScoreFunction::softmax_post, ScoreFunction::sigmoid,
                                  ScoreFunction::sqrt_softplus})
        for (auto const norm : {Normalisation::none, Normalisation::sum, Normalisation::l2}) {
          ++seed;
          if (top_k > experts || (takes_few_cases() && seed % 29 != 0)) continue;
          RouterCase run;
          run.config.score_function = function;
          run.config.normalisation = norm;
          run.config.normalise_single = seed % 2 == 0;
          run.config.top_k = top_k;
          run.experts = experts;
          run.tokens = 33;
          run.dtype = kDTypes[seed % 3];
          run.kind = static_cast<LogitKind>(seed / 3 % 4);
          run.seed = seed;
          check_case(report, run, seed % 8 == 0);
        }
}

void check_tokens(BitReport& report) {
  for (std::int64_t const tokens : {0, 1, 33, 4096})
    for (auto const dtype : kDTypes) {
      if (takes_few_cases() && (tokens > 33 || dtype != DType::bf16)) continue;
      RouterCase run;
      run.config.score_function = ScoreFunction::sigmoid;
      run.config.normalisation = Normalisation::sum;
      run.config.groups = GroupLimit{8, 4, 2};
      run.config.scaling_factor = 2.5F;
      run.config.top_k = 8;
      run.experts = 256;
      run.decides = Decides::bias;
      run.tokens = tokens;
      run.dtype = dtype;
      check_case(report, run, true);
    }
}

RouterCase draw_case(std::uint64_t seed) {
  RouterCase run;
  run.seed = seed;
  Numbers numbers(run, 9);
  constexpr int kExperts[] = {1, 2, 3, 8, 31, 32, 33, 60, 64, 96, 160, 256, 384, 1000};
  run.experts = kExperts[numbers.below(14)];
  run.tokens = 1 + numbers.below(70);
  run.dtype = kDTypes[numbers.below(3)];
  run.kind = static_cast<LogitKind>(numbers.below(4));
  RouterConfig& config = run.config;
  config.score_function = static_cast<ScoreFunction>(numbers.below(4));
  config.normalisation = static_cast<Normalisation>(numbers.below(3));
  config.normalise_single = numbers.below(2) == 0;
  config.epsilon = numbers.below(2) == 0 ? 1e-20F : 0.0F;
  config.scaling_factor = numbers.below(2) == 0 ? 1.0F : 2.5F;
  config.rounding = RouterRounding{kDTypes[numbers.below(3)], kDTypes[numbers.below(3)], kDTypes[numbers.below(3)]};
  config.top_k = 1 + numbers.below(run.experts < 40 ? run.experts : 40);
  int const groups = 1 << numbers.below(5);
  if (run.experts % groups == 0 && numbers.below(3) != 0) {
    int const size = run.experts / groups;
    config.groups = GroupLimit{groups, 1 + numbers.below(groups), 1 + numbers.below(size)};
    if (config.top_k > config.groups->group_topk * size) config.top_k = config.groups->group_topk * size;
  }
  run.decides = static_cast<Decides>(numbers.below(3));
  if (run.decides == Decides::bias && config.score_function == ScoreFunction::softmax_post)
    run.decides = Decides::scores;
  // Far logits become +inf in f16.
  bool const narrows = config.rounding.logits == DType::f16 || run.dtype == DType::f16;
  if (narrows && run.kind == LogitKind::special) run.kind = LogitKind::ties;
  return run;
}

void check_random(BitReport& report) {
  for (int seed = 1; seed <= seeds_or(400); ++seed)
    check_case(report, draw_case(5000 + static_cast<std::uint64_t>(seed)), seed % 16 == 0);
}

/// NaNs that count as -inf, and +inf under sigmoids.
void check_policies(BitReport& report) {
  for (auto const function : {ScoreFunction::softmax_pre, ScoreFunction::softmax_post, ScoreFunction::sigmoid})
    for (auto const dtype : kDTypes) {
      RouterCase run;
      run.config.score_function = function;
      run.config.nan_policy = NanPolicy::lowest;
      run.config.top_k = 3;
      run.experts = 40;
      run.tokens = 9;
      run.dtype = dtype;
      RouterInputs in(run);
      for (int e = 0; e < 39; ++e) in.set_logit(run, 4, e, std::numeric_limits<float>::quiet_NaN());
      in.set_logit(run, 7, 33, -std::numeric_limits<float>::quiet_NaN());
      if (function == ScoreFunction::sigmoid) in.set_logit(run, 8, 2, std::numeric_limits<float>::infinity());
      DeviceRun device(run, in);
      device.forward();
      device.backward();
      device.router().check(device.stream());
      compare_routes(report, run.name() + ", NaNs as lowest", run, results_of_host(run, in), device.results());
    }
}

int run_all() {
  BitReport report;
  check_worked_example(report);
  check_functions_and_sizes(report);
  check_tokens(report);
  check_policies(report);
  check_random(report);
  check_router_faults(report);
  check_router_users(report);
  check_router_losses(report);
  check_router_sinkhorn(report);
  std::printf("%s: %d checks, %d failed\n", cuda::describe_device().c_str(), report.checks(), report.failures());
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace cross_backend

int main() {
  return cross_backend::run_gpu_program(cross_backend::run_all);
}
