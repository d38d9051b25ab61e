// SPDX-License-Identifier: Apache-2.0
/// LoadSpec: the parameters of a synthetic expert load.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace switchyard::sim {

/// How popular the experts of a layer are, relative to each other.
enum class PopularityLaw : std::uint8_t {
  log_normal,  ///< exp(sigma * normal): the family that fits measured loads best
  zipf,        ///< rank^-s over a random order; s >= 1 is outside everything measured: a stress case
  uniform,     ///< all equal
  one_hot,     ///< one random expert per layer takes every token, the others share the rest evenly
};

/// How popularity becomes counts.
enum class LoadSampling : std::uint8_t {
  expected,  ///< tokens times the probability that a token picks the expert, rounded to integers of the exact total
  sampled,   ///< every token draws top_k different experts, each with its exact probability
};

/// The skew at a relative depth: 0 is the first layer, 1 the last; linear in between.
struct SigmaKnot {
  double depth = 0;
  double sigma = 1;
  friend bool operator==(SigmaKnot const&, SigmaKnot const&) = default;
};

/// Same spec, same loads, on every machine and for any number of threads.
///
/// The popularity of an expert is exp(sigma_l * a + domain_sigma * b + d): `a` is a normal quantile, the same set in
/// every layer and handed to the experts in a random order (so that two layers of one sigma are equally skewed), `b` a
/// normal draw per (domain, layer, expert), and `d` a mean-reverting random walk over the steps. Every step draws the
/// domain of its traffic.
struct LoadSpec {
  int num_steps = 1;
  int num_layers = 58;
  int num_experts = 256;
  int top_k = 8;
  std::int64_t tokens_per_step = 4096;  ///< over all ranks: 1,024 routed rows per rank with 32 ranks and top-8

  PopularityLaw law = PopularityLaw::log_normal;
  std::vector<SigmaKnot> sigma{{0.0, 0.5}, {1.0, 1.2}};  ///< depths ascending; log_normal only
  double zipf_s = 1.0;                                   ///< exponent over ranks; zipf only

  double drift_sigma = 0;        ///< step of the random walk per expert; measured 0.05 to 0.4 per rebalance window
  double drift_reversion = 0.1;  ///< share of the walk's distance that every step takes back
  int num_domains = 1;           ///< kinds of traffic (code, mathematics, chat, ...) with hot sets of their own
  double domain_sigma = 0;

  LoadSampling sampling = LoadSampling::expected;
  std::uint64_t seed = 1;
};

/// @throws Error{invalid_argument} naming the field and what to change.
void require_valid(LoadSpec const& spec);

/// @return sigma at `layer` of `spec`, linear between the knots and constant outside them.
[[nodiscard]] double sigma_of_layer(LoadSpec const& spec, int layer);

/// Published model shapes and stress cases by name; load_preset_names() lists them.
///
/// "deepseek-r1" is calibrated: with 32 ranks and contiguous experts its per-layer peak-to-average ratio spans 1.46 to
/// 3.46 with mean 2.56, shallow layers and the last two being the calmer ones, as NVIDIA's wide-EP notes
/// (TensorRT-LLM, examples/wide_ep) measured. The other models share the skew of moderately concentrated routers.
/// @throws Error{invalid_argument} for another name; the text lists the known ones.
[[nodiscard]] LoadSpec load_preset(std::string_view name);
[[nodiscard]] std::vector<std::string> load_preset_names();

}  // namespace switchyard::sim
