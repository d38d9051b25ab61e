// SPDX-License-Identifier: Apache-2.0
// Sinkhorn on the GPU against core's, bit for bit, with the same number of iterations; and the routing by its result.
//
// By hand: equal logits are balanced after one iteration whatever their number: every value is 1 / (tokens * experts)
// but for roundings and the 1e-8.
#include <cuda_runtime_api.h>

#include <functional>

#include "cuda_router_cases.hpp"
#include "few_cases.hpp"
#include "graph_replay.hpp"
#include "switchyard/cuda/router_sinkhorn.hpp"
#include "switchyard/types/error.hpp"

namespace cross_backend {
namespace {

using switchyard::SinkhornOptions;
using switchyard::SinkhornResult;

std::string text_of(std::function<void()> const& call) {
  try {
    call();
  } catch (switchyard::Error const& error) {
    return error.what();
  }
  return "";
}

/// A Sinkhorn, the router that follows it, and their memory; outputs start poisoned.
class DeviceSinkhorn {
 public:
  DeviceSinkhorn(RouterCase const& run, SinkhornOptions const& options, RouterInputs const& in)
      : run_(run),
        sinkhorn_(options, run.experts, run.tokens),
        router_(run.config, run.experts),
        logits_(cuda::upload(in.logits, stream_)),
        balanced_(poisoned<float>(run.tokens * run.experts, stream_)),
        ids_(poisoned<std::int32_t>(run.tokens * run.config.top_k, stream_)),
        weights_(poisoned<float>(run.tokens * run.config.top_k, stream_)) {}

  void replace(RouterInputs const& in) {
    cuda::copy_to_device(in.logits, logits_, stream_);
    cuda::fill_bytes(balanced_, kPoisonByte, stream_);
    stream_.view().synchronize();
  }
  void step() {
    auto const logits = logits_.view(run_.dtype, {run_.tokens, run_.experts});
    sinkhorn_.balance(logits, balanced_.as<float>(), stream_);
    router_.route_by(logits, balanced_.as<float const>(), {ids_.as<std::int32_t>(), weights_.as<float>()}, stream_);
  }
  void compare(BitReport& report, std::string const& name, SinkhornOptions const& options, RouterInputs const& in) {
    SinkhornResult const core = switchyard::sinkhorn(in.view(run_), options);
    std::int32_t iterations = -1;
    static_cast<void>(cudaMemcpyAsync(&iterations, sinkhorn_.iterations(), sizeof iterations, cudaMemcpyDeviceToHost,
                                      stream_.view().handle()));
    auto const balanced = cuda::download<float>(balanced_, stream_);
    auto const routing = switchyard::route_by(run_.config, in.view(run_), core.balanced);
    std::string const text =
        difference_of("balanced by expert", core.balanced, balanced, run_.experts) +
        difference_of("ids by slot", std::vector<std::int32_t>(routing.ids().begin(), routing.ids().end()),
                      cuda::download<std::int32_t>(ids_, stream_), run_.config.top_k);
    report.state(
        text.empty() && iterations == core.iterations,
        name + ": " + std::to_string(core.iterations) + " iterations, GPU " + std::to_string(iterations) + text);
  }
  [[nodiscard]] cuda::Sinkhorn& sinkhorn() { return sinkhorn_; }
  [[nodiscard]] cuda::StreamView stream() const { return stream_; }

 private:
  RouterCase run_;
  cuda::Stream stream_;
  cuda::Sinkhorn sinkhorn_;
  cuda::Router router_;
  cuda::DeviceBuffer logits_, balanced_, ids_, weights_;
};

RouterCase sinkhorn_case(int experts, std::int64_t tokens, DType dtype, std::uint64_t seed) {
  RouterCase run;
  run.config.top_k = experts < 2 ? 1 : 2;
  run.experts = experts;
  run.tokens = tokens;
  run.dtype = dtype;
  run.kind = seed % 2 == 0 ? LogitKind::ties : LogitKind::spread;
  run.seed = seed;
  return run;
}

void check_balanced(BitReport& report) {
  constexpr DType kDTypes[] = {DType::f32, DType::bf16, DType::f16};
  SinkhornOptions options;
  options.tolerance = 1e-6F;
  options.max_iterations = takes_few_cases() ? 50 : 300;
  std::uint64_t seed = 700;
  for (int const experts : {1, 8, 33, 64, 256})
    for (std::int64_t const tokens : {0, 5, 33, 300}) {
      ++seed;
      if (takes_few_cases() && (tokens > 33 || experts > 33)) continue;
      RouterCase const run = sinkhorn_case(experts, tokens, kDTypes[seed % 3], seed);
      std::string const name = "Sinkhorn of " + std::to_string(experts) + " experts, " + std::to_string(tokens) +
                               " tokens " + std::string(to_string(run.dtype));
      RouterInputs const in(run);
      DeviceSinkhorn device(run, options, in);
      device.step();
      device.compare(report, name, options, in);
      if (seed % 4 != 0) continue;
      RouterCase other = run;
      other.seed += 1000;
      RouterInputs const others(other);
      device.replace(others);
      report.state(replay(device.stream(), 2, [&] { device.step(); }), name + ": captured in global mode and replayed");
      device.compare(report, name + ", replayed", options, others);
    }
}

void check_texts(BitReport& report) {
  RouterCase const run = sinkhorn_case(8, 20, DType::f32, 1);
  SinkhornOptions few;
  few.tolerance = 0.0F;
  few.max_iterations = 2;
  auto const compare = [&](RouterInputs const& in, bool exactly) {
    DeviceSinkhorn device(run, few, in);
    device.step();
    std::string const core =
        text_of([&] { static_cast<void>(switchyard::route_sinkhorn(run.config, in.view(run), few)); });
    std::string const gpu = text_of([&] { device.sinkhorn().check(device.stream()); });
    bool const agrees = exactly ? gpu == core : gpu.substr(0, 60) == core.substr(0, 60);
    report.state(!core.empty() && agrees, gpu + (agrees ? "" : " | core: " + core));
  };
  RouterInputs in(run);
  compare(in, true);
  in.set_logit(run, 17, 5, 89.0F);
  compare(in, false);
  in.set_logit(run, 3, 2, std::numeric_limits<float>::quiet_NaN());
  compare(in, true);
}

}  // namespace

void check_router_sinkhorn(BitReport& report) {
  check_balanced(report);
  check_texts(report);
}

}  // namespace cross_backend
