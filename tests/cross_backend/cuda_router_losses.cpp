// SPDX-License-Identifier: Apache-2.0
// The router's losses, their gradients, counts and the bias update against core's, bit for bit: with and without a
// mask, launched and replayed over other inputs; and faults by their texts.
//
// By hand: one token, logits 0 0, softmax: scores 1/2 1/2; both choices of a top-2 give counts 1 1; coefficient 1: loss
// 1 * 2 / (2 * 1 * 1) * (1/2 + 1/2) = 1.
#include <functional>
#include <optional>

#include "cuda_router_cases.hpp"
#include "few_cases.hpp"
#include "graph_replay.hpp"
#include "switchyard/cuda/router_losses.hpp"
#include "switchyard/routing/bias_update.hpp"
#include "switchyard/types/error.hpp"

namespace cross_backend {
namespace {

using switchyard::BalanceLoss;
using switchyard::RoutingMap;
using switchyard::ScoreFunction;
using switchyard::SequenceShape;
using switchyard::TokenMask;

constexpr double kCoefficient = 0.013;
constexpr float kScale = 0.7F;
constexpr float kRate = 0.001F;

struct LossCase {
  RouterCase run{};
  std::int64_t sequences = 1;
  bool masked = false;
};

struct LossInputs {
  explicit LossInputs(LossCase const& given)
      : router(given.run), bias(draw_floats(given.run.experts, LogitKind::spread, Numbers(given.run, 5))) {
    Numbers numbers(given.run, 6);
    for (std::int64_t token = 0; token < given.run.tokens; ++token) mask.push_back(numbers.below(4) != 0 ? 1 : 0);
  }
  RouterInputs router;
  std::vector<float> bias;
  std::vector<std::uint8_t> mask;
};

/// What both sides compute; single numbers: balance, sequence and z loss.
struct LossResults {
  std::vector<float> scores, numbers, d_balance, d_sequence, d_z, bias;
  std::vector<std::int64_t> counts;
};

BalanceLoss loss_of(LossCase const& given) {
  return {kCoefficient, given.run.config.top_k, given.run.tokens, given.run.tokens};
}
SequenceShape shape_of(LossCase const& given) {
  return {given.run.tokens / given.sequences, given.sequences};
}

LossResults results_of_host(LossCase const& given, LossInputs const& in) {
  RouterCase const& run = given.run;
  ConstTensorView const logits = in.router.view(run);
  auto const function = run.config.score_function;
  TokenMask const mask = given.masked ? TokenMask(in.mask) : TokenMask();
  RoutingMap const routing = switchyard::route(run.config, logits);
  LossResults out;
  out.scores = switchyard::loss_scores(function, logits);
  out.counts = switchyard::tokens_per_expert(routing);
  int const top_k = run.config.top_k;
  out.numbers = {switchyard::balance_loss(loss_of(given), out.scores, out.counts, mask),
                 switchyard::sequence_balance_loss(kCoefficient, top_k, shape_of(given), out.scores, routing),
                 switchyard::z_loss(kCoefficient, logits, mask)};
  out.d_balance = switchyard::balance_loss_backward(loss_of(given), function, logits, out.counts, kScale, mask);
  out.d_sequence = switchyard::sequence_balance_loss_backward(kCoefficient, top_k, shape_of(given), function, logits,
                                                              routing, kScale);
  out.d_z = switchyard::z_loss_backward(kCoefficient, logits, kScale, mask);
  out.bias = in.bias;
  switchyard::update_selection_bias(out.bias, out.counts, kRate);
  return out;
}

/// Outputs start poisoned; the routing is the device's own.
class DeviceLosses {
 public:
  DeviceLosses(LossCase const& given, LossInputs const& in)
      : given_(given),
        router_(given.run.config, given.run.experts),
        losses_(given.run.config.score_function, given.run.experts, given.run.tokens, given.sequences),
        logits_(cuda::upload(in.router.logits, stream_)),
        mask_(cuda::upload(in.mask, stream_)),
        bias_(cuda::upload(in.bias, stream_)),
        ids_(poisoned<std::int32_t>(given.run.tokens * given.run.config.top_k, stream_)),
        weights_(poisoned<float>(given.run.tokens * given.run.config.top_k, stream_)),
        scores_(poisoned<float>(elements(), stream_)),
        d_balance_(poisoned<float>(elements(), stream_)),
        d_sequence_(poisoned<float>(elements(), stream_)),
        d_z_(poisoned<float>(elements(), stream_)),
        numbers_(poisoned<float>(3, stream_)),
        counts_(poisoned<std::int64_t>(given.run.experts, stream_)) {}

  void replace(LossInputs const& in) {
    cuda::copy_to_device(in.router.logits, logits_, stream_);
    cuda::copy_to_device(std::as_bytes(std::span(in.mask)), mask_, stream_);
    cuda::copy_to_device(std::as_bytes(std::span(in.bias)), bias_, stream_);
    for (cuda::DeviceBuffer const* out : {&ids_, &scores_, &d_balance_, &d_sequence_, &d_z_, &numbers_, &counts_})
      cuda::fill_bytes(*out, kPoisonByte, stream_);
    stream_.view().synchronize();
  }
  void step() {
    RouterCase const& run = given_.run;
    int const top_k = run.config.top_k;
    auto const logits = logits_.view(run.dtype, {run.tokens, run.experts});
    auto const* const mask = given_.masked ? mask_.as<std::uint8_t const>() : nullptr;
    auto* const ids = ids_.as<std::int32_t>();
    auto* const counts = counts_.as<std::int64_t>();
    float* const numbers = numbers_.as<float>();
    router_.route(logits, nullptr, {ids, weights_.as<float>()}, stream_);
    losses_.scores(logits, scores_.as<float>(), stream_);
    losses_.count(ids, run.tokens, top_k, counts, stream_);
    losses_.balance(loss_of(given_), scores_.as<float>(), run.tokens, counts, mask, numbers, stream_);
    losses_.sequence_balance(kCoefficient, top_k, shape_of(given_), scores_.as<float>(), ids, numbers + 1, stream_);
    losses_.z(kCoefficient, logits, mask, numbers + 2, stream_);
    losses_.balance_backward(loss_of(given_), logits, counts, kScale, mask, d_balance_.as<float>(), stream_);
    losses_.sequence_balance_backward(kCoefficient, top_k, shape_of(given_), logits, ids, kScale,
                                      d_sequence_.as<float>(), stream_);
    losses_.z_backward(kCoefficient, logits, kScale, mask, d_z_.as<float>(), stream_);
  }
  /// By itself, because it changes what it reads.
  void update_bias() {
    losses_.update_selection_bias(bias_.as<float>(), counts_.as<std::int64_t const>(), kRate, stream_);
  }
  [[nodiscard]] LossResults results() const {
    auto const floats = [&](cuda::DeviceBuffer const& buffer) { return cuda::download<float>(buffer, stream_); };
    return {floats(scores_),
            floats(numbers_),
            floats(d_balance_),
            floats(d_sequence_),
            floats(d_z_),
            floats(bias_),
            cuda::download<std::int64_t>(counts_, stream_)};
  }
  [[nodiscard]] cuda::RouterLosses& losses() { return losses_; }
  [[nodiscard]] cuda::DeviceBuffer const& counts() const { return counts_; }
  [[nodiscard]] cuda::StreamView stream() const { return stream_; }

 private:
  [[nodiscard]] std::int64_t elements() const { return given_.run.tokens * given_.run.experts; }

  LossCase given_;
  cuda::Stream stream_;
  cuda::Router router_;
  cuda::RouterLosses losses_;
  cuda::DeviceBuffer logits_, mask_, bias_, ids_, weights_, scores_, d_balance_, d_sequence_, d_z_, numbers_, counts_;
};

void compare(BitReport& report, std::string const& label, LossCase const& given, LossResults const& cpu,
             LossResults const& gpu) {
  std::int64_t const experts = given.run.experts;
  std::string const text =
      difference_of("scores by expert", cpu.scores, gpu.scores, experts) +
      difference_of("counts", cpu.counts, gpu.counts, experts) +
      difference_of("balance, sequence and z loss", cpu.numbers, gpu.numbers, 3) +
      difference_of("gradient of the balance loss by expert", cpu.d_balance, gpu.d_balance, experts) +
      difference_of("gradient of the sequence loss by expert", cpu.d_sequence, gpu.d_sequence, experts) +
      difference_of("gradient of the z loss by expert", cpu.d_z, gpu.d_z, experts) +
      difference_of("bias", cpu.bias, gpu.bias, experts);
  report.state(text.empty(), label + text);
}

void check_losses(BitReport& report, LossCase const& given, bool captures) {
  std::string const name = "losses: " + given.run.name() + ", " + std::to_string(given.sequences) + " sequences" +
                           (given.masked ? ", masked" : "");
  LossInputs const in(given);
  DeviceLosses device(given, in);
  device.step();
  device.update_bias();
  compare(report, name, given, results_of_host(given, in), device.results());
  if (captures) {
    LossCase other = given;
    other.run.seed += 1000;
    LossInputs const others(other);
    device.replace(others);
    report.state(replay(device.stream(), 2, [&] { device.step(); }), name + ": captured in global mode and replayed");
    report.state(replay(device.stream(), 1, [&] { device.update_bias(); }), name + ": the bias update replayed");
    compare(report, name + ", replayed", given, results_of_host(other, others), device.results());
  }
  device.losses().check(device.stream());
}

void check_loss_grid(BitReport& report) {
  constexpr DType kDTypes[] = {DType::f32, DType::bf16, DType::f16};
  std::uint64_t seed = 0;
  for (int const experts : {1, 8, 33, 256, 1000})
    for (std::int64_t const tokens : {0, 1, 36, 4096})
      for (auto const function : {ScoreFunction::softmax_pre, ScoreFunction::softmax_post, ScoreFunction::sigmoid,
                                  ScoreFunction::sqrt_softplus}) {
        ++seed;
        if (takes_few_cases() && (seed % 7 != 0 || tokens > 36)) continue;
        LossCase given;
        given.run.config.score_function = function;
        given.run.config.top_k = experts < 4 ? 1 : 4;
        given.run.experts = experts;
        given.run.tokens = tokens;
        given.run.dtype = kDTypes[seed % 3];
        given.run.kind = seed % 2 == 0 ? LogitKind::spread : LogitKind::ties;
        given.run.seed = 9000 + seed;
        given.sequences = tokens == 36 ? 3 : tokens == 4096 ? 64 : 1;
        given.masked = seed % 3 == 0;
        check_losses(report, given, seed % 5 == 0);
      }
}

std::string text_of(std::function<void()> const& call) {
  try {
    call();
  } catch (switchyard::Error const& error) {
    return error.what();
  }
  return "";
}

LossCase faulty_case() {
  LossCase given;
  given.run.config.top_k = 2;
  given.run.experts = 40;
  given.run.tokens = 20;
  return given;
}

void check_faulty_logits(BitReport& report) {
  LossCase const given = faulty_case();
  for (float const value : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    LossInputs in(given);
    in.router.set_logit(given.run, 11, 35, value);
    DeviceLosses device(given, in);
    device.step();
    std::string const core =
        text_of([&] { static_cast<void>(switchyard::z_loss(kCoefficient, in.router.view(given.run))); });
    std::string const gpu = text_of([&] { device.losses().check(device.stream()); });
    report.state(!core.empty() && core == gpu, "losses: " + gpu + (core == gpu ? "" : " | core: " + core));
  }
  LossInputs in(given);
  for (int e = 0; e < given.run.experts; ++e)
    in.router.set_logit(given.run, 7, e, -std::numeric_limits<float>::infinity());
  DeviceLosses device(given, in);
  device.step();
  std::string const core =
      text_of([&] { static_cast<void>(switchyard::z_loss(kCoefficient, in.router.view(given.run))); });
  std::string const gpu = text_of([&] { device.losses().check(device.stream()); });
  report.state(!core.empty() && core == gpu, "losses: " + gpu + (core == gpu ? "" : " | core: " + core));
  device.losses().forget_error(device.stream());
  report.state(text_of([&] { device.losses().check(device.stream()); }).empty(), "losses: forgotten");
}

/// Counts and biases that an update refuses leave the bias alone.
void check_faulty_updates(BitReport& report) {
  LossCase const given = faulty_case();
  LossInputs in(given);
  DeviceLosses negative(given, in);
  std::vector<std::int64_t> counts(static_cast<std::size_t>(given.run.experts), 3);
  counts[33] = -1;
  cuda::copy_to_device(std::as_bytes(std::span(counts)), negative.counts(), negative.stream());
  negative.update_bias();
  std::string const text = text_of([&] { negative.losses().check(negative.stream()); });
  report.state(text.find("token count of expert 33 is negative") != std::string::npos, "bias update: " + text);
  report.state(difference_of("bias", in.bias, negative.results().bias, given.run.experts).empty(),
               "bias update: a refused one changes nothing");
  in.bias[5] = std::numeric_limits<float>::infinity();
  DeviceLosses infinite(given, in);
  counts[33] = 3;
  cuda::copy_to_device(std::as_bytes(std::span(counts)), infinite.counts(), infinite.stream());
  infinite.update_bias();
  std::string const of_bias = text_of([&] { infinite.losses().check(infinite.stream()); });
  report.state(of_bias.find("selection bias of expert 5 is inf") != std::string::npos, "bias update: " + of_bias);
}

void check_refused_losses(BitReport& report) {
  LossCase const given = faulty_case();
  LossInputs const in(given);
  DeviceLosses device(given, in);
  auto const refuses = [&](std::string const& part, std::function<void()> const& call) {
    std::string const text = text_of(call);
    report.state(text.find(part) != std::string::npos, "losses refuse: " + text);
  };
  refuses("its memory was made for 20", [&] { device.losses().count(nullptr, 21, 2, nullptr, device.stream()); });
  refuses("2 sequences of 10 tokens", [&] {
    device.losses().sequence_balance(1.0, 2, {10, 2}, nullptr, nullptr, nullptr, device.stream());
  });
  refuses("with top_k 0", [&] {
    device.losses().balance({1.0, 0, 1, 1}, nullptr, 0, nullptr, nullptr, nullptr, device.stream());
  });
  refuses("update rate", [&] { device.losses().update_selection_bias(nullptr, nullptr, -1.0F, device.stream()); });
  refuses("at least one expert", [] { cuda::RouterLosses(ScoreFunction::sigmoid, 0, 5); });
}

void check_worked_loss(BitReport& report) {
  LossCase given;
  given.run.config.score_function = ScoreFunction::softmax_pre;
  given.run.config.top_k = 2;
  given.run.experts = 2;
  LossInputs in(given);
  for (int e = 0; e < 2; ++e) in.router.set_logit(given.run, 0, e, 0.0F);
  DeviceLosses device(given, in);
  device.step();
  float const loss = device.results().numbers[0];
  report.state(loss == static_cast<float>(kCoefficient), "the worked loss: " + std::to_string(loss));
}

}  // namespace

void check_router_losses(BitReport& report) {
  check_worked_loss(report);
  check_loss_grid(report);
  check_faulty_logits(report);
  check_faulty_updates(report);
  check_refused_losses(report);
}

}  // namespace cross_backend
