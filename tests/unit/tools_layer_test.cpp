// SPDX-License-Identifier: Apache-2.0
// `switchyard layer` as a user runs it. By hand: 10 tokens with 2 experts each are 20 expert rows, on 2 TP ranks 40.
#include <doctest/doctest.h>

#include <fstream>

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
  CHECK(result.out.find("rank 0, token ") != std::string::npos);
  CHECK(result.out.find(" instead of 0x") != std::string::npos);
}

TEST_CASE("mistakes in a description name their place") {
  Layer const layer;
  CHECK(layer.run(R"("prepare": "flexx")").err.find("no way to move rows") != std::string::npos);
  CHECK(layer.run(R"("prepare": "flex", "recipe": "rank_partial")").err.find("depend on where experts lie") !=
        std::string::npos);
  auto const result = layer.run(R"("prepare": "flex", "tp": 2, "bias": true)");
  CHECK(result.exit_code == 2);
  CHECK(result.err.find("a second bias with TP size 2") != std::string::npos);
}
