// SPDX-License-Identifier: Apache-2.0
// `switchyard layer` as a user runs it, and how it names a difference. By hand: 10 tokens with 2 experts each are 20
// expert rows, on 2 TP ranks 40. Of 16 units of I on 2 TP ranks the second one has 8 to 15, so its column 2 is 10.
#include <doctest/doctest.h>

#include <algorithm>
#include <fstream>

#include "commands/layer_tensors.hpp"
#include "support/cli_runner.hpp"

namespace {

struct Layer {
  support::CliRunner cli;
  support::CliResult run(std::string const& members, std::string const& options = "") const {
    std::ofstream(cli.work() / "layer.json")
        << R"({"schema_version": 1, "tokens": 10, "top_k": 2, "experts": 4, "hidden": 24, "intermediate": 16, )"
        << members << "}";
    return cli.run("layer layer.json " + options);
  }
};

std::size_t count(std::string const& text, std::string const& part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

}  // namespace

TEST_CASE("every way gives the dense rank's bits, by threads and by fibers") {
  Layer const layer;
  for (char const* options : {"--scheduler cooperative", ""}) {
    auto const result = layer.run(R"("prepare": "all", "ep": [1, 2, 4], "tp": [1, 2])", options);
    CHECK(result.exit_code == 0);
    CHECK(count(result.out, "same bits") == 4 * 6 + 2);
    CHECK(count(result.out, "skipped: one rank only") == 10);
  }
}

TEST_CASE("a sweep: one digest forward and one backward for every way, EP and TP, biases included") {
  Layer const layer;
  auto const result = layer.run(R"("prepare": "flex", "bias": true, "seed": 3)", "--sweep --scheduler cooperative");
  CHECK(result.exit_code == 0);
  CHECK(count(result.out, "skipped: one rank only") == 30);
  CHECK(result.out.find("; 66 of 66 runs have its bits") != std::string::npos);
  auto const dense = result.out.substr(result.out.find("dense rank: forward ") + 20, 16);
  CHECK(count(result.out, dense) == 67);
}

TEST_CASE("backward can be left out; other recipes that promise equal bits keep them") {
  Layer const layer;
  auto const forward = layer.run(R"("prepare": "flex", "ep": 2, "backward": false)", "--format json");
  CHECK(forward.exit_code == 0);
  CHECK(forward.out.find("d_tokens") == std::string::npos);
  auto const exact = layer.run(
      R"("prepare": "all", "ep": [1, 4], "tp": 2, "recipe": "exact", "gradient_recipe": "source_expert_order")",
      "--format json");
  CHECK(exact.exit_code == 0);
  CHECK(exact.out.find("\"d_router_weights\"") != std::string::npos);
  CHECK(exact.out.find("\"all_same_bits\": true") != std::string::npos);
}

TEST_CASE("a difference is named by tensor, rank, expert or token, place and both bit patterns") {
  namespace cli = switchyard::cli;
  cli::LayerDescription d;
  d.tokens = 5;
  d.top_k = 1;
  d.biased = true;
  d.mlp.hidden = 4;
  d.mlp.intermediate = 16;
  d.mlp.num_local_experts = 4;
  switchyard::ExpertParallelGrid const grid{2, 2};
  cli::LayerTensors const want(d, grid);
  switchyard::ExpertMlp slice = d.mlp;
  slice.num_local_experts = 2;
  slice.tp = {1, 2};
  cli::SliceRows const rows(d, slice, std::vector{switchyard::ExpertId{2}, switchyard::ExpertId{3}});
  auto const difference = [&](auto const& change) {
    cli::RankTensors own;
    own.resize(d, slice, 1);  // rank 3 has one token, the last one
    for (auto* values : {&own.d_router_weights, &own.d_w1, &own.d_w2, &own.d_b1, &own.d_b2})
      std::fill(values->begin(), values->end(), 0.0f);
    for (auto* bytes : {&own.output, &own.d_tokens}) std::fill(bytes->begin(), bytes->end(), std::byte{0});
    change(own);
    cli::LayerTensors got(d, grid);
    got.add_rank(d, switchyard::RankId{3}, rows, own);
    return cli::first_difference(d, grid, got, want);
  };
  CHECK(difference([](auto&) {}) == "");
  CHECK(difference([](auto& own) { own.d_w2[8 + 2] = 1.0f; }) ==
        "d_w2, rank 3, expert 2, row 1, column 10: 0x3f800000 instead of 0x00000000");
  CHECK(difference([](auto& own) { own.d_w1[(16 + 9) * 4 + 1] = 1.0f; }) ==  // expert 3, its up unit 1 of 8
        "d_w1, rank 3, expert 3, row 25, column 1: 0x3f800000 instead of 0x00000000");
  CHECK(difference([](auto& own) { own.d_b2[3] = -0.0f; }) ==
        "d_b2, rank 3, expert 2, row 0, column 3: 0x80000000 instead of 0x00000000");
  CHECK(difference([](auto& own) { own.output[4] = std::byte{1}; }) ==
        "output, rank 3, token 0, column 1: 0x00000001 instead of 0x00000000");
}

TEST_CASE("one run shows its stages; quantised rows are narrower on the wire") {
  Layer const layer;
  auto const plain = layer.run(R"("prepare": "alltoall", "tp": 2)", "--format json");
  CHECK(plain.exit_code == 0);
  CHECK(plain.out.find("\"expert_rows\": 40") != std::string::npos);
  CHECK(plain.out.find("\"bytes\": 960,") != std::string::npos);  // 20 rows of 24 bf16
  auto const codes =
      layer.run(R"("prepare": "alltoall", "tp": 2, "quantize": "before_exchange", "quant": {"scheme": "fp8_token"})",
                "--format json");
  CHECK(codes.exit_code == 0);
  CHECK(codes.out.find("\"bytes\": 640,") != std::string::npos);  // 24 codes, a scale, filled up to 32
}

TEST_CASE("bits that no recipe promises are reported with the first element, and exit code 1") {
  Layer const layer;
  auto const result = layer.run(
      R"("prepare": "flex", "ep": 4, "quantize": "after_exchange", "quant": {"scheme": "fp8_tensor_dynamic"})");
  CHECK(result.exit_code == 1);
  CHECK(result.out.find("output, rank 0, token ") != std::string::npos);
  CHECK(result.out.find(" instead of 0x") != std::string::npos);
}

TEST_CASE("mistakes in a description name their place") {
  Layer const layer;
  CHECK(layer.run(R"("prepare": "flexx")").err.find("no way to move rows") != std::string::npos);
  CHECK(layer.run(R"("prepare": "flex", "recipe": "rank_partial")").err.find("depend on where experts lie") !=
        std::string::npos);
  auto const trained = layer.run(
      R"("prepare": "flex", "backward": true, "quantize": "before_exchange", "quant": {"scheme": "fp8_token"})");
  CHECK(trained.err.find("of rows that are quantised: train on plain ones") != std::string::npos);
}
