// SPDX-License-Identifier: Apache-2.0
// Policies and imbalance figures.
//
// Worked example of the figures: loads 6 2 1 3 on two ranks with two slots, experts 0 1 | 2 3. Rank loads 8 and 4, mean
// 6: PAR 8/6, balancedness 6/8. No slot is spare, so the largest replica is 6 = the mean and the lower bound is 1.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>

#include "support/error_text.hpp"
#include "switchyard/placement/imbalance.hpp"
#include "switchyard/placement/policy.hpp"

using doctest::Approx;
using switchyard::ErrorCode;
using switchyard::ExpertId;
using switchyard::ExpertLoad;
using switchyard::ExpertPlacement;
using switchyard::make_policy;
using switchyard::PolicyRequest;
using switchyard::SlotLayout;

namespace {

std::vector<int> layer_of(ExpertPlacement const& placement, int layer) {
  std::vector<int> out;
  for (ExpertId const expert : placement.layer(layer)) out.push_back(expert.value());
  return out;
}

ExpertLoad one_layer(std::vector<double> loads) {
  auto const experts = static_cast<int>(loads.size());
  return ExpertLoad(1, 1, experts, std::move(loads));
}

std::string refusal(std::string_view policy, int experts, PolicyRequest const& request) {
  return support::error_text(ErrorCode::invalid_argument, [&] {
    return make_policy(policy)->place(one_layer(std::vector<double>(static_cast<std::size_t>(experts), 1.0)), request);
  });
}

}  // namespace

TEST_CASE("the example of DeepSeek's README") {
  ExpertLoad const load(1, 2, 12, {90, 132, 40,  61, 104, 165, 39,  4,   73,  56, 183, 86,
                                   20, 107, 104, 64, 19,  197, 187, 157, 172, 86, 16,  27});
  auto const placement = make_policy("deepseek")->place(load, {8, 16, 2, 4});
  CHECK(layer_of(placement, 0) == std::vector<int>{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1});
  CHECK(layer_of(placement, 1) == std::vector<int>{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1});
}

TEST_CASE("steps of a load are summed before placing") {
  ExpertLoad const two_steps(2, 1, 3, {1, 2, 0, 5, 0, 1});
  auto const policy = make_policy("deepseek");
  CHECK(policy->place(two_steps, {2, 4, 1, 1}) == policy->place(one_layer({6, 2, 1}), {2, 4, 1, 1}));
}

TEST_CASE("declared ties: the lowest expert is replicated, items keep their order, the lowest pack wins") {
  auto const policy = make_policy("deepseek");
  CHECK(layer_of(policy->place(one_layer({0, 0, 0}), {2, 6, 1, 1}), 0) == std::vector<int>{0, 1, 2, 0, 0, 0});
  CHECK(layer_of(policy->place(one_layer({5, 5, 5, 5}), {2, 4, 1, 1}), 0) == std::vector<int>{0, 2, 1, 3});
}

TEST_CASE("with one slot per rank nothing is sorted, as in the original") {
  CHECK(layer_of(make_policy("deepseek")->place(one_layer({1, 9, 5}), {3, 3, 1, 1}), 0) == std::vector<int>{0, 1, 2});
}

TEST_CASE("DeepSeek's policy chooses its mode by groups and nodes") {
  ExpertLoad const load = one_layer({9, 1, 1, 1, 8, 1, 1, 1, 7, 1, 1, 1});
  auto const place = [&](std::string_view name, int nodes, int groups) {
    return make_policy(name)->place(load, {4, 16, nodes, groups});
  };
  CHECK(place("deepseek", 2, 3) == place("deepseek-global", 2, 3));
  CHECK(place("deepseek", 2, 6) == place("deepseek-hierarchical", 2, 6));
  CHECK(place("deepseek", 2, 6) != place("deepseek-global", 2, 6));
}

TEST_CASE("impossible requests say what to change") {
  CHECK(refusal("deepseek", 8, {3, 16, 1, 1}) ==
        "16 slots are not divisible by 3 ranks: use 18 slots or another number of ranks");
  CHECK(refusal("deepseek", 8, {4, 4, 1, 1}) == "4 slots cannot hold 8 experts: use at least 8 slots");
  CHECK(refusal("contiguous", 9, {4, 8, 1, 1}) == "8 slots cannot hold 9 experts: use at least 12 slots");
  CHECK(support::contains(refusal("deepseek", 9, {4, 12, 2, 4}), "9 experts are not divisible by 4 groups"));
  CHECK(support::contains(refusal("deepseek-hierarchical", 9, {4, 12, 2, 3}), "3 groups are not divisible by 2 nodes"));
  CHECK(support::contains(refusal("deepseek", 8, {3, 9, 2, 4}), "3 ranks are not divisible by 2 nodes"));
  CHECK(support::contains(refusal("deepseek", 8, {0, 8, 1, 1}), "must be at least 1"));
  CHECK(support::contains(refusal("deepseek", 8, {1, 8, 0, 1}), "must be at least 1"));
  auto const text = support::error_text(ErrorCode::invalid_argument, [] {
    return make_policy("deepseek")->place(one_layer({1, 1e39}), {1, 2, 1, 1});
  });
  CHECK(support::contains(text, "expert 1 in layer 0 does not fit float32"));
}

TEST_CASE("policies are found by name") {
  auto const names = switchyard::policy_names();
  for (auto const* name :
       {"deepseek", "deepseek-hierarchical", "deepseek-global", "contiguous", "round-robin", "vllm", "sglang-vec",
        "sglang-vec-hierarchical", "sglang-elastic", "tensorrt-llm", "ascend-default", "swift"}) {
    CHECK(std::count(names.begin(), names.end(), name) == 1);
  }
  auto const text = support::error_text(ErrorCode::invalid_argument, [] { return make_policy("best") != nullptr; });
  std::string known;
  for (auto const& name : names) {
    CHECK(make_policy(name)->name() == name);
    known += (known.empty() ? "" : ", ") + name;
  }
  CHECK(text == "no policy is called \"best\": use one of " + known);
}

TEST_CASE("baselines ignore the loads and accept uneven slots") {
  CHECK(layer_of(make_policy("contiguous")->place(one_layer({9, 1, 1}), {2, 4, 1, 1}), 0) ==
        std::vector<int>{0, 1, 2, 0});
  auto const placement = make_policy("round-robin")->place(one_layer({9, 1, 1}), {2, 3, 1, 1});
  CHECK(layer_of(placement, 0) == std::vector<int>{0, 2, 1});
  CHECK(placement.layout() == SlotLayout({2, 1}));
}

TEST_CASE("figures of the worked example") {
  auto const report = measure_imbalance(one_layer({6, 2, 1, 3}), ExpertPlacement::contiguous(1, 4, 2));
  auto const& layer = report.layers.at(0);
  CHECK(layer.max_rank_load == 8);
  CHECK(layer.mean_rank_load == 6);
  CHECK(layer.par == Approx(8.0 / 6));
  CHECK(layer.excess == Approx(2.0 / 6));
  CHECK(layer.lower_bound_par == 1);
  CHECK(report.vllm_balancedness == 0.75);
}

TEST_CASE("balancedness sums over layers, PAR averages over them") {
  // vLLM's own example: everything on one of four ranks, in both layers: 50 / 200.
  ExpertLoad const load(1, 2, 4, {100, 0, 0, 0, 100, 0, 0, 0});
  auto const report = measure_imbalance(load, ExpertPlacement::contiguous(2, 4, 4));
  CHECK(report.vllm_balancedness == 0.25);
  CHECK(report.mean_par == 4);
  CHECK(report.layers[0].lower_bound_par == 4);
  ExpertLoad const uneven(1, 2, 4, {100, 0, 0, 0, 1, 1, 1, 1});
  auto const mixed = measure_imbalance(uneven, ExpertPlacement::contiguous(2, 4, 4));
  CHECK(mixed.max_par == 4);
  CHECK(mixed.min_par == 1);
  CHECK(mixed.mean_par == 2.5);
  CHECK(mixed.vllm_balancedness == Approx(26.0 / 101));
}

TEST_CASE("spare slots lower the bound to the best replica counts") {
  // 600 560 120 120 20 10 10 10 on 16 single slots: counts 5 5 1 1 1 1 1 1 leave 120, which is above the mean.
  std::vector<double> const loads = {600, 560, 120, 120, 20, 10, 10, 10};
  auto const placement = ExpertPlacement::trivial(1, 8, SlotLayout::uniform(16, 1));
  auto const layer = measure_imbalance(one_layer(loads), placement).layers.at(0);
  CHECK(layer.mean_rank_load == Approx(90.625));
  CHECK(layer.lower_bound_par == Approx(120 / 90.625));
}

TEST_CASE("layers without load are balanced, and loads without a slot are refused") {
  auto const report = measure_imbalance(one_layer({0, 0}), ExpertPlacement::contiguous(1, 2, 2));
  CHECK(report.layers[0].par == 1);
  CHECK(report.layers[0].noise_floor_par == 1);
  CHECK(report.vllm_balancedness == 1);
  ExpertPlacement const lost(1, 2, SlotLayout::uniform(1, 1), {ExpertId(0)});
  CHECK(measure_imbalance(one_layer({3, 0}), lost).layers[0].par == 1);
  auto const text = support::error_text(ErrorCode::invalid_placement, [&] {
    return measure_imbalance(one_layer({3, 1}), lost).max_par;
  });
  CHECK(support::contains(text, "expert 1 of layer 0 has load 1 but no slot"));
  CHECK(support::error_text(ErrorCode::shape_mismatch, [&] {
          return measure_imbalance(one_layer({3}), lost).max_par;
        }) == "the load has 1 layers x 1 experts, the placement 1 x 2: they must describe the same model");
}

TEST_CASE("the sampling-noise floor follows the expected maximum of normals") {
  // E[max] of 2 is 1/sqrt(pi), of 3 is 3/(2 sqrt(pi)); of 32 is 2.06967, of 1,024 is 3.2414 (tables of order
  // statistics).
  CHECK(switchyard::sampling_noise_floor(1, 100) == 1);
  CHECK(switchyard::sampling_noise_floor(32, 0) == 1);
  CHECK(switchyard::sampling_noise_floor(2, 1) == Approx(1 + 0.5641896 * std::sqrt(0.5)).epsilon(1e-5));
  CHECK(switchyard::sampling_noise_floor(3, 1) == Approx(1 + 0.8462844 * std::sqrt(2.0 / 3)).epsilon(1e-5));
  CHECK(switchyard::sampling_noise_floor(32, 1024) == Approx(1 + 2.06967 * std::sqrt(31.0 / 32 / 1024)).epsilon(1e-5));
  CHECK(support::contains(
      support::error_text(ErrorCode::invalid_argument, [] { return switchyard::sampling_noise_floor(0, 1); }),
      "0 ranks"));
}
