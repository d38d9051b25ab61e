// SPDX-License-Identifier: Apache-2.0
// ParallelMlp on MegaBlocks' recorded cases: the rows that experts see, and combined outputs, with real experts; and
// the recorded batched losses through LoadBalancingLoss.
//
// The recordings' expert e multiplies its row [rank + 1, token + 1, 1] by e + 1, and every hidden shard contributes the
// whole product. Here a gated relu2 expert does that: every gate is the row's last element, 1, whose square is 1; three
// ups per shard copy the row; w2 is (e + 1) times the identity. Every sum is exact.
//
// Loss by hand: one layer, one expert, top-1, weight 0.1, one token of score 1 and count 1: 1 * 0.1 / 1 * 1 = 0.1.
#include <doctest/doctest.h>

#include <cmath>

#include "support/golden_file.hpp"
#include "switchyard/cpu/parallel_mlp.hpp"
#include "switchyard/cpu/rank_group.hpp"

namespace {

using switchyard::DType;
using switchyard::io::JsonValue;
namespace cpu = switchyard::cpu;

constexpr std::int64_t kHidden = 3;
constexpr std::int64_t kUnits = 24;  // every one of 8 blocks of I has 3 units

std::int64_t integer(JsonValue const& value) {
  return value.as_int(-1, std::int64_t{1} << 40);
}

std::vector<std::int64_t> integers(JsonValue const& list) {
  std::vector<std::int64_t> values;
  for (std::size_t i = 0; i < list.array_size(); ++i) values.push_back(integer(list.at(i)));
  return values;
}

switchyard::RoutingMap read_routing(JsonValue const& rank, int experts, int top_k) {
  std::vector<std::int32_t> ids;
  std::vector<float> weights;
  auto const tokens = rank.at("topk_ids").array_size();
  for (std::size_t t = 0; t < tokens; ++t)
    for (std::size_t k = 0; k < static_cast<std::size_t>(top_k); ++k) {
      ids.push_back(static_cast<std::int32_t>(integer(rank.at("topk_ids").at(t).at(k))));
      weights.push_back(static_cast<float>(rank.at("topk_weights").at(t).at(k).as_double()));
    }
  return switchyard::RoutingMap::from_topk(static_cast<std::int64_t>(tokens), experts, top_k, std::move(ids),
                                           std::move(weights));
}

struct ScalingExperts {
  std::vector<float> w1, w2;
};

/// Weights of this rank's shard. @param first_expert of its block
ScalingExperts scaling_experts(switchyard::ExpertMlp const& mlp, std::int64_t first_expert) {
  ScalingExperts weights;
  std::int64_t const units = mlp.local_units();
  weights.w1.assign(static_cast<std::size_t>(mlp.num_local_experts * 2 * units * kHidden), 0.0f);
  weights.w2.assign(static_cast<std::size_t>(mlp.num_local_experts * kHidden * units), 0.0f);
  for (std::int64_t e = 0; e < mlp.num_local_experts; ++e)
    for (std::int64_t c = 0; c < kHidden; ++c) {
      auto const w1 = [&](std::int64_t row, std::int64_t column) -> float& {
        return weights.w1[static_cast<std::size_t>((e * 2 * units + row) * kHidden + column)];
      };
      w1(mlp.gate_row(c), kHidden - 1) = 1.0f;
      w1(mlp.up_row(c), c) = 1.0f;
      weights.w2[static_cast<std::size_t>((e * kHidden + c) * units + c)] = static_cast<float>(first_expert + e + 1);
    }
  return weights;
}

/// The first mismatch of one rank.
std::string compare_rows(JsonValue const& golden, cpu::ParallelMlpStep const& step) {
  auto const* row = reinterpret_cast<float const*>(step.rows.data());
  for (std::size_t local = 0; local < step.plan.tokens_per_local_expert.size(); ++local) {
    auto const bin = golden.at(local);
    std::int64_t const rows = step.plan.tokens_per_local_expert[local];
    if (static_cast<std::int64_t>(bin.array_size()) != rows)
      return "bin " + std::to_string(local) + " has " + std::to_string(rows) + " rows";
    for (std::size_t c = 0; c < bin.array_size(); ++c, row += kHidden) {
      std::array<float, kHidden> wanted{};
      if (!bin.at(c).is_null())
        wanted = {static_cast<float>(integer(bin.at(c).at(std::size_t{0})) + 1),
                  static_cast<float>(integer(bin.at(c).at(std::size_t{1})) + 1), 1.0f};
      if (!std::equal(wanted.begin(), wanted.end(), row))
        return "row " + std::to_string(c) + " of bin " + std::to_string(local);
    }
  }
  return "";
}

std::string compare_combined(JsonValue const& golden, std::vector<float> const& output) {
  for (std::size_t t = 0; t < golden.array_size(); ++t)
    for (std::size_t c = 0; c < kHidden; ++c)
      if (golden.at(t).at(c).as_double() != static_cast<double>(output[t * kHidden + c]))
        return "combined[" + std::to_string(t) + "][" + std::to_string(c) + "]";
  return "";
}

std::string run_rank(JsonValue const& golden, switchyard::ParallelMlpConfig const& config,
                     switchyard::Communicator& comm) {
  int const rank = comm.rank().value();
  auto const expected = golden.at("ranks").at(comm.rank().index());
  auto const routing = read_routing(expected, config.num_experts, config.top_k);
  std::vector<float> tokens;
  for (std::int64_t t = 0; t < routing.num_tokens(); ++t)
    tokens.insert(tokens.end(), {static_cast<float>(rank + 1), static_cast<float>(t + 1), 1.0f});
  cpu::ParallelMlp layer(comm, config);
  auto const& mlp = layer.mlp();
  int const blocks = switchyard::megablocks_grid(config.world, config.num_experts).expert_blocks;
  auto const weights = scaling_experts(mlp, rank % blocks * mlp.num_local_experts);
  cpu::ParallelMlpInputs inputs;
  inputs.tokens = {tokens.data(), DType::f32, {routing.num_tokens(), kHidden}};
  inputs.routing = &routing;
  inputs.weights.w1 = {weights.w1.data(), DType::f32, {mlp.num_local_experts, mlp.first_layer_outputs(), kHidden}};
  inputs.weights.w2 = {weights.w2.data(), DType::f32, {mlp.num_local_experts, kHidden, mlp.local_units()}};
  std::vector<float> output(tokens.size(), -1.0f);
  cpu::ParallelMlpStep step;
  (void)layer.forward(inputs, {output.data(), DType::f32, {routing.num_tokens(), kHidden}}, &step);
  if (step.plan.tokens_per_local_expert.front() != integer(expected.at("expert_capacity"))) return "expert_capacity";
  if (step.plan.rows_per_slot != integers(expected.at("tokens_per_expert"))) return "tokens_per_expert";
  std::string const rows = compare_rows(expected.at("expert_rows"), step);
  return rows.empty() ? compare_combined(expected.at("combined"), output) : rows;
}

std::string run_case(JsonValue const& golden) {
  switchyard::ParallelMlpConfig config;
  config.world = static_cast<int>(integer(golden.at("world")));
  config.num_experts = static_cast<int>(integer(golden.at("num_experts")));
  config.top_k = static_cast<int>(integer(golden.at("topk")));
  config.hidden = kHidden;
  config.ffn_hidden = kUnits;
  config.dtype = DType::f32;
  config.activation = {switchyard::Activation::relu2, switchyard::GateLayout::split};
  config.capacity_factor = golden.at("capacity_factor").as_double();
  std::vector<std::string> found(static_cast<std::size_t>(config.world));
  auto const scheduler = cpu::make_cooperative_scheduler();
  cpu::run_ranks(*scheduler, config.world, {},
                 [&](switchyard::Communicator& comm) { found[comm.rank().index()] = run_rank(golden, config, comm); });
  for (std::size_t rank = 0; rank < found.size(); ++rank)
    if (!found[rank].empty()) return "rank " + std::to_string(rank) + ": " + found[rank];
  return "";
}

std::string run_loss(JsonValue const& golden) {
  switchyard::LoadBalancingConfig config;
  config.num_experts = static_cast<int>(integer(golden.at("num_experts")));
  config.top_k = static_cast<int>(integer(golden.at("topk")));
  config.num_layers = static_cast<int>(integer(golden.at("num_layers")));
  config.loss_weight = golden.at("loss_weight").as_double();
  switchyard::LoadBalancingLoss losses(config);
  auto const layers = golden.at("layers");
  for (std::size_t layer = layers.array_size(); layer-- > 0;) {
    auto const rows = layers.at(layer).at("scores");
    std::vector<float> scores;
    for (std::size_t t = 0; t < rows.array_size(); ++t)
      for (std::size_t e = 0; e < rows.at(t).array_size(); ++e)
        scores.push_back(static_cast<float>(rows.at(t).at(e).as_double()));
    losses.save(static_cast<int>(layer), integers(layers.at(layer).at("tokens_per_expert")), scores);
  }
  double const wanted = golden.at("loss").as_double();
  double const got = static_cast<double>(losses.loss());
  if (std::fabs(got - wanted) <= 1e-5 * std::fabs(wanted)) return "";
  return "loss: expected " + std::to_string(wanted) + ", got " + std::to_string(got);
}

std::string run_text(std::string (*run)(JsonValue const&), std::string const& text) {
  return run(switchyard::io::JsonDocument::parse(text, "own").root());
}

std::string replaced(std::string text, std::string const& from, std::string const& to) {
  return text.replace(text.find(from), from.size(), to);
}

// Two tokens chose expert 0; factor 1 of 2 rows over 2 experts leaves one place in every bin, so token 1 is dropped.
std::string const kCase = R"({"world": 1, "num_experts": 2, "topk": 1, "capacity_factor": 1, "ranks": [
  {"topk_ids": [[0], [0]], "topk_weights": [[0.5], [0.25]], "tokens_per_expert": [2, 0], "expert_capacity": 1,
   "expert_rows": [[[0, 0]], [null]], "combined": [[0.5, 0.5, 0.5], [0, 0, 0]]}]})";
std::string const kLoss = R"({"num_layers": 1, "num_experts": 1, "topk": 1, "loss_weight": 0.1, "loss": 0.1,
  "layers": [{"tokens_per_expert": [1], "scores": [[1]]}]})";

}  // namespace

TEST_CASE("every MegaBlocks case runs through real experts") {
  auto const run = support::run_golden_cases("megablocks_dev.json", "cases", run_case);
  MESSAGE("cases run: " << run);
}

TEST_CASE("every recorded batched loss") {
  auto const run = support::run_golden_cases("router_dev.json", "megablocks_batched_loss", run_loss);
  MESSAGE("losses run: " << run);
}

TEST_CASE("a wrong expectation is found and named") {
  CHECK(run_text(run_case, kCase) == "");
  CHECK(run_text(run_case, replaced(kCase, "[0.5, 0.5, 0.5]", "[0.5, 0.5, 1]")) == "rank 0: combined[0][2]");
  CHECK(run_text(run_case, replaced(kCase, "[[[0, 0]], [null]]", "[[[0, 1]], [null]]")) == "rank 0: row 0 of bin 0");
  CHECK(run_text(run_case, replaced(kCase, "expert_capacity\": 1", "expert_capacity\": 2")) ==
        "rank 0: expert_capacity");
  CHECK(run_text(run_loss, kLoss) == "");
  CHECK(run_text(run_loss, replaced(kLoss, "\"loss\": 0.1", "\"loss\": 0.2")) ==
        "loss: expected 0.200000, got 0.100000");
}
