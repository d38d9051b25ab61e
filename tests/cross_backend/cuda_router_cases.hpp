// SPDX-License-Identifier: Apache-2.0
/// Routers to compare between CPU and GPU: a configuration, its inputs in a dtype, and both sides' results.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "poisoned.hpp"
#include "row_report.hpp"
#include "switchyard/cuda/router.hpp"
#include "switchyard/hd/convert.hpp"
#include "test_data.hpp"

namespace cross_backend {

namespace cuda = switchyard::cuda;
using switchyard::ConstTensorView;
using switchyard::DType;
using switchyard::RouterConfig;

/// What decides besides the own scores.
enum class Decides { scores, bias, selection };

/// Which floats logits are.
enum class LogitKind {
  spread,     ///< between -12 and 12
  ties,       ///< few values, both zeros among them
  special,    ///< also -inf, subnormals, and numbers far out
  forbidding  ///< nine of ten are -inf, and whole rows
};

struct RouterCase {
  RouterConfig config{};
  int experts = 1;
  std::int64_t tokens = 1;
  DType dtype = DType::f32;
  Decides decides = Decides::scores;
  LogitKind kind = LogitKind::spread;
  std::uint64_t seed = 1;

  [[nodiscard]] std::string name() const {
    constexpr char const* kFunctions[] = {"softmax_pre", "softmax_post", "sigmoid", "sqrt_softplus"};
    constexpr char const* kNorms[] = {"", " sum", " l2"};
    constexpr char const* kDecides[] = {"", " bias", " foreign choice"};
    std::string text = kFunctions[static_cast<int>(config.score_function)];
    text += kNorms[static_cast<int>(config.normalisation)];
    text += kDecides[static_cast<int>(decides)];
    text += " top " + std::to_string(config.top_k) + " of " + std::to_string(experts);
    if (config.groups)
      text += " in " + std::to_string(config.groups->group_topk) + "/" + std::to_string(config.groups->num_groups) +
              " groups";
    text += ", " + std::to_string(tokens) + " tokens " + std::string(to_string(dtype));
    text += " rounded " + std::string(to_string(config.rounding.logits)) + "/" +
            std::string(to_string(config.rounding.scores)) + "/" + std::string(to_string(config.rounding.weights));
    return text + ", logits " + std::to_string(static_cast<int>(kind)) + ", seed " + std::to_string(seed);
  }
};

/// Numbers of one stream of a case.
class Numbers {
 public:
  Numbers(RouterCase const& run, std::uint64_t stream) : stream_(run.seed * 16 + stream) {}
  std::uint32_t word() { return random_word(stream_, next_++); }
  int below(int bound) { return static_cast<int>(word() % static_cast<std::uint32_t>(bound)); }
  float uniform() { return static_cast<float>(word() >> 8) * 0x1p-23F - 1.0F; }

 private:
  std::uint64_t stream_;
  std::uint64_t next_ = 0;
};

inline float draw_logit(LogitKind kind, Numbers& numbers) {
  constexpr float kFar[] = {
      -std::numeric_limits<float>::infinity(), -0.0F, 0.0F, 1e-45F, -1e-39F, 88.0F, -104.0F, 60000.0F};
  float const value = numbers.uniform() * 12.0F;
  if (kind == LogitKind::ties) return value > 4.0F ? -0.0F : static_cast<float>(static_cast<int>(value / 4.0F)) * 0.5F;
  if (kind == LogitKind::special && numbers.below(3) == 0) return kFar[numbers.below(8)];
  if (kind == LogitKind::forbidding && numbers.below(10) != 0) return kFar[0];
  return value;
}

inline std::vector<float> draw_floats(std::int64_t count, LogitKind kind, Numbers numbers) {
  std::vector<float> values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(draw_logit(kind, numbers));
  return values;
}

template <typename T>
std::vector<std::byte> bytes_as(std::vector<float> const& values) {
  std::vector<T> narrow;
  for (float const value : values) narrow.push_back(as_row_element<T>(value));
  std::span<std::byte const> const bytes = std::as_bytes(std::span(narrow));
  return {bytes.begin(), bytes.end()};
}

inline std::vector<std::byte> bytes_in(DType dtype, std::vector<float> const& values) {
  if (dtype == DType::bf16) return bytes_as<switchyard::bf16_t>(values);
  if (dtype == DType::f16) return bytes_as<switchyard::f16_t>(values);
  return bytes_as<float>(values);
}

/// Inputs on the host.
struct RouterInputs {
  explicit RouterInputs(RouterCase const& run)
      : values(draw_floats(run.tokens * run.experts, run.kind, Numbers(run, 0))),
        bias(draw_floats(run.experts, LogitKind::spread, Numbers(run, 1))),
        selection(draw_floats(run.tokens * run.experts, run.kind, Numbers(run, 2))),
        d_weights(draw_floats(run.tokens * run.config.top_k, LogitKind::spread, Numbers(run, 3))) {
    // Tokens beside each other whose experts are all alike, and all forbidden.
    for (int e = 0; e < run.experts && run.tokens > 2; ++e) {
      values[static_cast<std::size_t>(run.experts + e)] = 1.5F;
      if (run.kind == LogitKind::forbidding)
        values[static_cast<std::size_t>(2 * run.experts + e)] = -std::numeric_limits<float>::infinity();
    }
    for (float& value : bias) value *= 0.02F;
    logits = bytes_in(run.dtype, values);
  }
  void set_logit(RouterCase const& run, std::int64_t token, int expert, float value) {
    values[static_cast<std::size_t>(token * run.experts + expert)] = value;
    logits = bytes_in(run.dtype, values);
  }
  [[nodiscard]] ConstTensorView view(RouterCase const& run) const {
    return {logits.data(), run.dtype, {run.tokens, run.experts}};
  }

  std::vector<float> values;
  std::vector<float> bias;
  std::vector<float> selection;
  std::vector<float> d_weights;
  std::vector<std::byte> logits;
};

/// What both sides compute.
struct RouterResults {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  std::vector<float> d_logits;
};

inline switchyard::RoutingMap route_on_host(RouterCase const& run, RouterInputs const& in) {
  if (run.decides == Decides::selection) return switchyard::route_by(run.config, in.view(run), in.selection);
  bool const has_bias = run.decides == Decides::bias;
  return switchyard::route(run.config, in.view(run),
                           has_bias ? std::span<float const>(in.bias) : std::span<float const>());
}

/// @throws what core throws
inline RouterResults results_of_host(RouterCase const& run, RouterInputs const& in) {
  switchyard::RoutingMap const routing = route_on_host(run, in);
  return {{routing.ids().begin(), routing.ids().end()},
          {routing.weights().begin(), routing.weights().end()},
          switchyard::route_backward(run.config, in.view(run), routing, in.d_weights)};
}

/// A router and its memory on the device; outputs start poisoned.
class DeviceRun {
 public:
  DeviceRun(RouterCase const& run, RouterInputs const& in)
      : run_(run),
        router_(run.config, run.experts),
        logits_(cuda::upload(in.logits, stream_)),
        bias_(cuda::upload(in.bias, stream_)),
        selection_(cuda::upload(in.selection, stream_)),
        d_weights_(cuda::upload(in.d_weights, stream_)),
        ids_(poisoned<std::int32_t>(run.tokens * run.config.top_k, stream_)),
        weights_(poisoned<float>(run.tokens * run.config.top_k, stream_)),
        d_logits_(poisoned<float>(run.tokens * run.experts, stream_)) {}

  /// Another case of the same sizes.
  void replace(RouterInputs const& in) {
    cuda::copy_to_device(in.logits, logits_, stream_);
    cuda::copy_to_device(std::as_bytes(std::span(in.bias)), bias_, stream_);
    cuda::copy_to_device(std::as_bytes(std::span(in.selection)), selection_, stream_);
    cuda::copy_to_device(std::as_bytes(std::span(in.d_weights)), d_weights_, stream_);
    cuda::fill_bytes(ids_, kPoisonByte, stream_);
    cuda::fill_bytes(weights_, kPoisonByte, stream_);
    cuda::fill_bytes(d_logits_, kPoisonByte, stream_);
    stream_.view().synchronize();
  }
  void forward() {
    cuda::DeviceChoices const out{ids_.as<std::int32_t>(), weights_.as<float>()};
    if (run_.decides == Decides::selection) return router_.route_by(view(), selection_.as<float const>(), out, stream_);
    router_.route(view(), run_.decides == Decides::bias ? bias_.as<float const>() : nullptr, out, stream_);
  }
  void backward() {
    router_.backward(view(), ids_.as<std::int32_t const>(), d_weights_.as<float const>(), d_logits_.as<float>(),
                     stream_);
  }
  [[nodiscard]] RouterResults results() const {
    return {cuda::download<std::int32_t>(ids_, stream_), cuda::download<float>(weights_, stream_),
            cuda::download<float>(d_logits_, stream_)};
  }
  [[nodiscard]] cuda::Router& router() { return router_; }
  [[nodiscard]] cuda::StreamView stream() const { return stream_; }
  [[nodiscard]] ConstTensorView view() const { return logits_.view(run_.dtype, {run_.tokens, run_.experts}); }
  [[nodiscard]] cuda::DeviceBuffer const& ids() const { return ids_; }
  [[nodiscard]] cuda::DeviceBuffer const& weights() const { return weights_; }

 private:
  RouterCase run_;
  cuda::Stream stream_;
  cuda::Router router_;
  cuda::DeviceBuffer logits_;
  cuda::DeviceBuffer bias_;
  cuda::DeviceBuffer selection_;
  cuda::DeviceBuffer d_weights_;
  cuda::DeviceBuffer ids_;
  cuda::DeviceBuffer weights_;
  cuda::DeviceBuffer d_logits_;
};

template <typename T>
std::string difference_of(std::string const& what, std::vector<T> const& cpu, std::vector<T> const& gpu,
                          std::int64_t columns) {
  RowNames names;
  names.columns = columns;
  names.element_bytes = sizeof(T);
  std::string const text = difference_text(names, std::as_bytes(std::span(cpu)), std::as_bytes(std::span(gpu)));
  return text.empty() ? "" : "; " + what + ": " + text;
}

/// One check for all three results. A difference names rank, token, slot or expert, and both bit patterns.
inline void compare_routes(BitReport& report, std::string const& label, RouterCase const& run, RouterResults const& cpu,
                           RouterResults const& gpu) {
  std::string const text = difference_of("ids by slot", cpu.ids, gpu.ids, run.config.top_k) +
                           difference_of("weights by slot", cpu.weights, gpu.weights, run.config.top_k) +
                           difference_of("gradient by expert", cpu.d_logits, gpu.d_logits, run.experts);
  report.state(text.empty(), label + text);
}

/// Faults, refusals, and what follows a routing.
void check_router_faults(BitReport& report);
void check_router_users(BitReport& report);
/// Losses, their gradients, counts, the update of the bias.
void check_router_losses(BitReport& report);
void check_router_sinkhorn(BitReport& report);

}  // namespace cross_backend
