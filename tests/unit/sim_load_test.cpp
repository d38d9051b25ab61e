// SPDX-License-Identifier: Apache-2.0
// Expert loads: exact totals, legality, the published imbalance of DeepSeek-R1, and bytes that never change.
//
// Worked example of apportion: 10 units over weights 5, 3, 1, 1 with a cap of 4. The first item would get 5 and is cut
// to 4; the other 6 units are shared 3 : 1 : 1 as 3.6, 1.2, 1.2, whose floors leave one unit for the largest fraction:
// 4, 4, 1, 1.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "switchyard/sim/load_generator.hpp"
#include "switchyard/types/error.hpp"
#include "switchyard/types/fingerprint.hpp"

namespace sim = switchyard::sim;

namespace {

double par_of(std::span<double const> experts, int ranks) {
  std::size_t const block = experts.size() / static_cast<std::size_t>(ranks);
  double peak = 0;
  double total = 0;
  for (std::size_t first = 0; first < experts.size(); first += block) {
    double sum = 0;
    for (std::size_t e = first; e < first + block; ++e) sum += experts[e];
    peak = std::max(peak, sum);
    total += sum;
  }
  return peak * ranks / total;
}

std::string digest(switchyard::ExpertLoad const& load) {
  switchyard::FingerprintBuilder builder;
  std::vector<std::int64_t> const integers(load.values().begin(), load.values().end());
  builder.add(1, integers);
  return builder.result().to_hex();
}

}  // namespace

TEST_CASE("apportion: worked example, cap and largest remainders") {
  std::vector<double> const weights{5, 3, 1, 1};
  CHECK(sim::apportion(weights, 10, 4) == std::vector<std::int64_t>{4, 4, 1, 1});
  CHECK(sim::apportion(weights, 0, 4) == std::vector<std::int64_t>{0, 0, 0, 0});
  CHECK(sim::apportion(weights, 16, 4) == std::vector<std::int64_t>{4, 4, 4, 4});
  CHECK(sim::apportion(std::vector<double>{1, 0, 1}, 3, 2) == std::vector<std::int64_t>{2, 0, 1});
  CHECK_THROWS_AS((void)sim::apportion(weights, 17, 4), switchyard::Error);
  CHECK_THROWS_AS((void)sim::apportion(std::vector<double>{0, 0}, 1, 4), switchyard::Error);
}

TEST_CASE("apportion: all small cases add up, respect the cap and zero weights") {
  for (int code = 1; code < 4 * 4 * 4; ++code) {
    std::vector<double> const weights{double(code % 4), double(code / 4 % 4), double(code / 16)};
    auto const usable = std::count_if(weights.begin(), weights.end(), [](double w) { return w > 0; });
    for (std::int64_t cap = 1; cap <= 5; ++cap) {
      for (std::int64_t total = 0; total <= usable * cap; ++total) {
        CAPTURE(code);
        CAPTURE(cap);
        CAPTURE(total);
        auto const parts = sim::apportion(weights, total, cap);
        CHECK(std::accumulate(parts.begin(), parts.end(), std::int64_t{0}) == total);
        for (std::size_t i = 0; i < parts.size(); ++i) CHECK((parts[i] >= 0 && parts[i] <= (weights[i] > 0 ? cap : 0)));
      }
    }
  }
}

TEST_CASE("deepseek-r1 reproduces the published imbalance of 32 ranks") {
  sim::LoadSpec const spec = sim::load_preset("deepseek-r1");
  auto const load = sim::generate_load(spec);
  REQUIRE(load.num_layers() == 58);
  REQUIRE(load.num_experts() == 256);
  std::vector<double> pars;
  double deviation = 0;
  for (int layer = 0; layer < 58; ++layer) {
    auto const experts = load.at(0, layer);
    CHECK(std::accumulate(experts.begin(), experts.end(), 0.0) == 32 * 1024);  // 1,024 rows per rank on average
    pars.push_back(par_of(experts, 32));
    double squares = 0;
    for (int rank = 0; rank < 32; ++rank) {
      double const rows = std::accumulate(experts.begin() + rank * 8, experts.begin() + rank * 8 + 8, 0.0);
      squares += (rows - 1024) * (rows - 1024);
    }
    deviation += std::sqrt(squares / 32) / 58;
  }
  double const mean = std::accumulate(pars.begin(), pars.end(), 0.0) / 58;
  MESSAGE("PAR min " << *std::min_element(pars.begin(), pars.end()) << ", max "
                     << *std::max_element(pars.begin(), pars.end()) << ", mean " << mean << ", deviation "
                     << deviation);
  CHECK(std::abs(*std::min_element(pars.begin(), pars.end()) - 1.46) < 0.03);
  CHECK(std::abs(*std::max_element(pars.begin(), pars.end()) - 3.46) < 0.03);
  CHECK(std::abs(mean - 2.56) < 0.03);
  CHECK(std::abs(deviation - 492) < 10);
  for (int layer = 0; layer < 3; ++layer) CHECK(pars[static_cast<std::size_t>(layer)] < 1.6);  // calm start
}

TEST_CASE("the profile, not the seed, makes the imbalance: other seeds stay near") {
  sim::LoadSpec spec = sim::load_preset("deepseek-r1");
  for (std::uint64_t seed : {1U, 2U, 3U}) {
    spec.seed = seed;
    auto const load = sim::generate_load(spec);
    double mean = 0;
    for (int layer = 0; layer < 58; ++layer) mean += par_of(load.at(0, layer), 32) / 58;
    CAPTURE(seed);
    CHECK(std::abs(mean - 2.52) < 0.2);
  }
}

TEST_CASE("every preset is legal: exact totals, no expert above the number of tokens") {
  for (std::string const& name : sim::load_preset_names()) {
    for (auto const sampling : {sim::LoadSampling::expected, sim::LoadSampling::sampled}) {
      CAPTURE(name);
      sim::LoadSpec spec = sim::load_preset(name);
      spec.num_layers = 3;
      spec.num_steps = 2;
      spec.tokens_per_step = 500;
      spec.sampling = sampling;
      auto const load = sim::generate_load(spec);
      for (int step = 0; step < 2; ++step) {
        for (int layer = 0; layer < 3; ++layer) {
          auto const experts = load.at(step, layer);
          CHECK(std::accumulate(experts.begin(), experts.end(), 0.0) == 500.0 * spec.top_k);
          CHECK(*std::max_element(experts.begin(), experts.end()) <= 500);
        }
      }
    }
  }
}

TEST_CASE("one-hot gives one expert every token, uniform is flat, sigma 0 equals uniform") {
  sim::LoadSpec spec = sim::load_preset("one-hot");
  auto const hot_load = sim::generate_load(spec);
  auto const hot = hot_load.at(0, 0);
  CHECK(std::count(hot.begin(), hot.end(), double(spec.tokens_per_step)) == 1);
  auto const flat = sim::generate_load(sim::load_preset("uniform"));
  CHECK(std::all_of(flat.values().begin(), flat.values().end(), [](double value) { return value == 128; }));
  spec.law = sim::PopularityLaw::log_normal;
  spec.sigma = {{0.0, 0.0}};
  CHECK(sim::generate_load(spec) == flat);
}

TEST_CASE("sampled counts have the expected mean") {
  sim::LoadSpec spec;
  spec.num_layers = 1;
  spec.num_experts = 16;
  spec.top_k = 3;
  spec.tokens_per_step = 100000;
  auto const expected = sim::generate_load(spec);
  spec.sampling = sim::LoadSampling::sampled;
  auto const sampled = sim::generate_load(spec);
  CHECK(sampled != expected);
  for (std::size_t e = 0; e < 16; ++e) {  // binomial: six deviations
    double const mean = expected.values()[e];
    CHECK(std::abs(sampled.values()[e] - mean) < 6 * std::sqrt(mean));
  }
}

TEST_CASE("drift and domains move loads from step to step, and step 0 keeps its popularity") {
  sim::LoadSpec spec;
  spec.num_layers = 2;
  spec.num_experts = 32;
  spec.num_steps = 4;
  auto const still = sim::generate_load(spec);
  CHECK(std::equal(still.at(0, 1).begin(), still.at(0, 1).end(), still.at(3, 1).begin()));
  spec.drift_sigma = 0.2;
  auto const drifting = sim::generate_load(spec);
  CHECK(std::equal(still.at(0, 1).begin(), still.at(0, 1).end(), drifting.at(0, 1).begin()));
  CHECK_FALSE(std::equal(still.at(3, 1).begin(), still.at(3, 1).end(), drifting.at(3, 1).begin()));
  spec.num_domains = 3;
  spec.domain_sigma = 0.7;
  CHECK(sim::generate_load(spec) != drifting);
  // The pure function of one (step, layer) and the running walk are the same.
  spec.top_k = 4;
  auto const load = sim::generate_load(spec);
  auto const counts =
      sim::apportion(sim::expert_popularity(spec, 3, 1), 4 * spec.tokens_per_step, spec.tokens_per_step);
  CHECK(std::equal(counts.begin(), counts.end(), load.at(3, 1).begin()));
}

TEST_CASE("the bytes are part of the format: pinned digests") {
  CHECK(digest(sim::generate_load(sim::load_preset("deepseek-r1"))) == "da26491e4483e2d9");
  sim::LoadSpec spec = sim::load_preset("olmoe");
  spec.num_steps = 3;
  spec.drift_sigma = 0.1;
  spec.num_domains = 2;
  spec.domain_sigma = 0.5;
  CHECK(digest(sim::generate_load(spec)) == "71f28d44f20965d1");
}

TEST_CASE("a bad spec is refused with the field's name") {
  auto const message_of = [](auto&& change) {
    sim::LoadSpec spec;
    change(spec);
    try {
      sim::require_valid(spec);
    } catch (switchyard::Error const& error) {
      return std::string(error.message());
    }
    return std::string();
  };
  CHECK(message_of([](auto&) {}).empty());
  CHECK(message_of([](auto& spec) { spec.num_experts = 0; }).find("experts") != std::string::npos);
  CHECK(message_of([](auto& spec) { spec.top_k = 257; }).find("top_k is 257") != std::string::npos);
  CHECK(message_of([](auto& spec) { spec.tokens_per_step = -1; }).find("tokens_per_step is -1") != std::string::npos);
  CHECK(message_of([](auto& spec) { spec.sigma = {}; }).find("sigma") != std::string::npos);
  CHECK(message_of([](auto& spec) { spec.sigma[0].sigma = std::nan(""); }).find("sigma") != std::string::npos);
  CHECK(message_of([](auto& spec) { spec.sigma[1].depth = -1; }).find("depth") != std::string::npos);
  CHECK(message_of([](auto& spec) { spec.drift_reversion = 2; }).find("drift_reversion") != std::string::npos);
  CHECK(message_of([](auto& spec) { spec.num_steps = 1 << 30; }).find("exceeds") != std::string::npos);
  CHECK_THROWS_WITH_AS((void)sim::load_preset("nope"), doctest::Contains("known are deepseek-r1"), switchyard::Error);
}
