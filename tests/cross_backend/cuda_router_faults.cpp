// SPDX-License-Identifier: Apache-2.0
// Data and calls at fault: the GPU's text is core's, the token at fault gets -1 and 0, the others their routing. And
// what follows a routing: a device planner that takes it as it lies.
#include <algorithm>
#include <functional>

#include "cuda_router_cases.hpp"
#include "switchyard/cuda/device_planner.hpp"
#include "switchyard/dispatch/flex_planner.hpp"
#include "switchyard/types/error.hpp"

namespace cross_backend {
namespace {

using switchyard::Error;
using switchyard::ScoreFunction;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

std::string text_of(std::function<void()> const& call) {
  try {
    call();
  } catch (Error const& error) {
    return error.what();
  }
  return "";
}

RouterCase faulty_case(ScoreFunction function, Decides decides) {
  RouterCase run;
  run.config.score_function = function;
  run.config.top_k = 4;
  run.experts = 70;
  run.tokens = 50;
  run.decides = decides;
  return run;
}

/// @param spoils changes the inputs; @param tokens that are at fault then
void check_fault(BitReport& report, std::string const& name, RouterCase const& run,
                 std::function<void(RouterInputs&)> const& spoils, std::vector<std::int64_t> const& tokens) {
  RouterInputs const good(run);
  RouterInputs bad = good;
  spoils(bad);
  RouterResults expected = results_of_host(run, good);
  for (std::int64_t const token : tokens) {
    auto const slots = static_cast<std::size_t>(run.config.top_k);
    auto const experts = static_cast<std::size_t>(run.experts);
    auto const at = static_cast<std::size_t>(token);
    std::fill_n(expected.ids.begin() + static_cast<std::ptrdiff_t>(at * slots), slots, -1);
    std::fill_n(expected.weights.begin() + static_cast<std::ptrdiff_t>(at * slots), slots, 0.0F);
    std::fill_n(expected.d_logits.begin() + static_cast<std::ptrdiff_t>(at * experts), experts, 0.0F);
  }
  DeviceRun device(run, bad);
  device.forward();
  std::string const core = text_of([&] { static_cast<void>(route_on_host(run, bad)); });
  std::string const gpu = text_of([&] { device.router().check(device.stream()); });
  report.state(!core.empty() && core == gpu, name + ": " + gpu + (core == gpu ? "" : " | core: " + core));
  device.backward();
  compare_routes(report, name + ": other tokens", run, expected, device.results());
  device.router().forget_error(device.stream());
  device.replace(good);
  device.forward();
  device.backward();
  report.state(text_of([&] { device.router().check(device.stream()); }).empty(), name + ": forgotten");
  compare_routes(report, name + ": afterwards", run, results_of_host(run, good), device.results());
}

std::vector<std::int64_t> all_tokens(RouterCase const& run) {
  std::vector<std::int64_t> tokens;
  for (std::int64_t token = 0; token < run.tokens; ++token) tokens.push_back(token);
  return tokens;
}

void check_logits_at_fault(BitReport& report) {
  auto run = faulty_case(ScoreFunction::softmax_pre, Decides::scores);
  check_fault(report, "NaN logits", run,
              [&](RouterInputs& in) {
                in.set_logit(run, 41, 0, kInfinity);
                in.set_logit(run, 17, 69, kInfinity);
                in.set_logit(run, 17, 68, -kNan);
              },
              {17, 41});
  check_fault(report, "an infinite logit", run, [&](RouterInputs& in) { in.set_logit(run, 49, 33, kInfinity); }, {49});
  run.config.score_function = ScoreFunction::sigmoid;
  check_fault(report, "a NaN for a sigmoid", run, [&](RouterInputs& in) { in.set_logit(run, 0, 1, kNan); }, {0});
  run = faulty_case(ScoreFunction::sqrt_softplus, Decides::bias);
  run.config.rounding.logits = DType::f16;
  check_fault(report, "a logit that overflows by rounding", run,
              [&](RouterInputs& in) { in.set_logit(run, 3, 64, 70000.0F); }, {3});
}

void check_choices_at_fault(BitReport& report) {
  auto const biased = faulty_case(ScoreFunction::sigmoid, Decides::bias);
  check_fault(
      report, "biases that are no numbers", biased,
      [&](RouterInputs& in) {
        in.bias[65] = kInfinity;
        in.bias[34] = -kNan;
        in.set_logit(biased, 0, 0, kNan);
      },
      all_tokens(biased));
  auto const foreign = faulty_case(ScoreFunction::softmax_post, Decides::selection);
  check_fault(report, "a NaN to choose by", foreign,
              [&](RouterInputs& in) {
                in.selection[70 * 20 + 69] = kNan;
                in.selection[70 * 30 + 3] = kNan;
                in.set_logit(foreign, 0, 0, kNan);
              },
              {0, 20, 30});
}

/// The gradient's ids: dropped choices as core says, others than experts.
void check_ids_at_fault(BitReport& report) {
  auto const run = faulty_case(ScoreFunction::softmax_pre, Decides::scores);
  RouterInputs const in(run);
  for (std::int32_t const id : {-1, -2, 70, 0x7fffffff}) {
    DeviceRun device(run, in);
    device.forward();
    auto ids = device.results().ids;
    ids[4 * 31 + 2] = id;
    cuda::copy_to_device(std::as_bytes(std::span(ids)), device.ids(), device.stream());
    device.backward();
    std::string const gpu = text_of([&] { device.router().check(device.stream()); });
    bool const names_it = gpu.find("token 31, slot 2") != std::string::npos &&
                          gpu.find(id == -1 ? "has no expert" : "names no expert of 70") != std::string::npos;
    report.state(names_it, "a gradient with id " + std::to_string(id) + ": " + gpu);
  }
}

void check_refused_calls(BitReport& report) {
  auto const run = faulty_case(ScoreFunction::softmax_post, Decides::scores);
  RouterInputs const in(run);
  DeviceRun device(run, in);
  cuda::DeviceChoices const out{device.ids().as<std::int32_t>(), device.weights().as<float>()};
  auto const refuses = [&](std::string const& part, std::function<void()> const& call) {
    std::string const text = text_of(call);
    report.state(text.find(part) != std::string::npos, "refused: " + text);
  };
  refuses("added to raw logits",
          [&] { device.router().route(device.view(), device.weights().as<float const>(), out, device.stream()); });
  refuses("lie on the host", [&] { device.router().route(in.view(run), nullptr, out, device.stream()); });
  refuses("for a router of 70 experts", [&] {
    ConstTensorView const other(device.view().data(), DType::f32, {70, 50}, switchyard::MemorySpace::device);
    device.router().route(other, nullptr, out, device.stream());
  });
  refuses("no values to choose", [&] { device.router().route_by(device.view(), nullptr, out, device.stream()); });
  refuses("top_k 4 is outside [1, 3]", [&] { cuda::Router(run.config, 3); });
  refuses("bytes of shared memory", [&] { cuda::Router(run.config, 200000); });
}

}  // namespace

void check_router_faults(BitReport& report) {
  check_logits_at_fault(report);
  check_choices_at_fault(report);
  check_ids_at_fault(report);
  check_refused_calls(report);
}

void check_router_users(BitReport& report) {
  auto run = faulty_case(ScoreFunction::sigmoid, Decides::bias);
  run.experts = 64;
  RouterInputs const in(run);
  DeviceRun device(run, in);
  device.forward();
  cuda::DevicePlannerConfig config;
  config.grid = {1, 1};
  config.columns = run.config.top_k;
  config.max_tokens = run.tokens;
  auto const placement = switchyard::ExpertPlacement::contiguous(1, run.experts, 1);
  cuda::DevicePlanner planner(config, switchyard::RankId{0}, placement, 0);
  planner.assign({device.ids().as<std::int32_t const>(), nullptr, device.weights().as<float const>(), run.tokens},
                 device.stream());
  planner.plan(device.stream());
  switchyard::FlexConfig flex;
  flex.grid = config.grid;
  std::vector<switchyard::RoutingMap> const routings{route_on_host(run, in)};
  auto const expected = switchyard::plan_flex_group(flex, routings, placement, 0, {});
  report.state(planner.download(device.stream()) == expected.front(), "a device planner takes the routing as it lies");
}

}  // namespace cross_backend
