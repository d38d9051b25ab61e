// SPDX-License-Identifier: Apache-2.0
// Costs fitted to measurements, and what is predicted from them.
//
// Worked example: nccl-tests times of 2 GPUs that follow 10 us + 10 us per MB exactly, with one slow stray of 900 us
// among them. The stray goes; half of a rank's bytes leave it, so a port moves 50 GB/s after a latency of 10 us, and a
// single message of 1 MB from rank 0 to rank 1 takes 30 us.
#include <doctest/doctest.h>

#include <array>
#include <cstdlib>
#include <string>

#include "support/error_text.hpp"
#include "switchyard/io/file.hpp"
#include "switchyard/sim/cost_file.hpp"
#include "switchyard/sim/validation.hpp"

using namespace switchyard;
using namespace switchyard::sim;
using doctest::Approx;
using support::contains;
using support::error_text;

namespace {

constexpr char const* kHeader =
    "system,framework,version,device,op_name,kernel_source,nccl_dtype,num_gpus,message_size,latency\n";

std::string nccl_csv() {
  std::string text = kHeader;
  for (int bytes = 1000000; bytes <= 64000000; bytes *= 2) {
    double const ms = bytes == 4000000 ? 0.9 : (10 + bytes / 100e3) / 1000;
    text += "box,TRTLLM,2.29,Box GPU,alltoall,NCCL,int8,2," + std::to_string(bytes) + "," + std::to_string(ms) + "\n";
  }
  return text;
}

FittedCurve fitted_box() {
  return fit(read_measured_curves(nccl_csv(), "folder/box.csv").at(0));
}

ClusterSpec box() {
  ClusterSpec spec;
  spec.name = "box";
  spec.gpus_per_node = 2;
  spec.intra_node.gpu_gb_per_s = spec.intra_node.peer_gb_per_s = 60;  // 82 % of it are less than the 50 GB/s measured
  return spec;
}

/// Times 5 us + active * (2 + rows / 100), EP sizes 1 to 8 of 8 experts.
std::string gemm_csv() {
  std::string text =
      "framework,version,device,moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,"
      "distribution,latency\n";
  for (int ep = 1; ep <= 8; ep *= 2)
    for (int tokens = 4; tokens <= 512; tokens *= 2) {
      double const us = 5 + 8.0 / ep * (2 + tokens * 2 / 8 / 100.0);
      text += "F,1,Box GPU,bf16," + std::to_string(tokens) + ",64,64,2,8,1," + std::to_string(ep) + ",balanced," +
              std::to_string(us / 1000) + "\n";
    }
  return text;
}

}  // namespace

TEST_CASE("the worked example: a stray goes, the rest is met exactly") {
  auto const measured = read_measured_curves(nccl_csv(), "folder/box.csv");
  REQUIRE(measured.size() == 1);
  CHECK(measured[0].provenance.file == "box.csv");
  CHECK(measured[0].provenance.version == "NCCL 2.29");
  FittedCurve const curve = fitted_box();
  REQUIRE(curve.fit.rejected.size() == 1);
  CHECK(curve.fit.rejected[0].sample.size == 4e6);
  CHECK(curve.fit.rejected[0].reason == RejectReason::too_slow);
  CHECK(cost_us(curve.fit.curve, 4e6) == Approx(50));
  CHECK(cost_us(curve.fit.curve, 0) == Approx(20));
  CHECK(cost_us(curve.fit.curve, 128e6) == Approx(1290));
  std::array const flows{Flow{RankId(0), RankId(1), 1000000, 1, 0}};
  ClusterTopology const topology(calibrated_cluster(box(), std::span(&curve, 1), flows));
  for (auto const fidelity : {Fidelity::t0, Fidelity::t1})
    CHECK(make_network_model(fidelity)->estimate(topology, flows).makespan_us == Approx(30));
}

TEST_CASE("times that fall are pooled, fast strays go, curves never fall") {
  std::array<Measurement, 4> const falling{{{1, 10}, {2, 9.9}, {3, 10.1}, {4, 20}}};
  auto const fit = fit_curve(falling);
  CHECK(fit.rejected.empty());
  CHECK(fit.curve.knots[0].us == fit.curve.knots[1].us);
  CHECK_NOTHROW(require_valid(fit.curve));
  std::array<Measurement, 4> const fast{{{1, 10}, {2, 11}, {3, 12}, {4, 5}}};
  auto const rest = fit_curve(fast);
  REQUIRE(rest.rejected.size() == 1);
  CHECK(rest.rejected[0].reason == RejectReason::too_fast);
  std::array<Measurement, 3> const repeated{{{1, 10}, {1, 90}, {1, 11}}};
  CHECK(fit_curve(repeated).curve.knots == std::vector<Measurement>{{1, 11}});
}

TEST_CASE("phases without traffic between ranks keep the cluster; ones inside and between nodes are timed") {
  FittedCurve const curve = fitted_box();
  std::array const local{Flow{RankId(1), RankId(1), 1000, 1, 0}};
  CHECK(calibrated_cluster(box(), std::span(&curve, 1), local).intra_node.gpu_gb_per_s == 60);
  std::vector<TrafficPhase> const phases{{"one", {{RankId(0), RankId(1), 1000000, 1, 0}}}, {"none", {}}};
  auto const cost = calibrated_cost_of(box(), std::span(&curve, 1), phases, *make_network_model(Fidelity::t1));
  CHECK(cost.time_us == Approx(30));
  CHECK(cost.phases.size() == 2);
}

TEST_CASE("experts: launch and weights of the active ones") {
  auto const measured = read_measured_gemms(gemm_csv(), "gemm.csv");
  REQUIRE(measured.size() == 1);
  auto const cost = fit_gemm(measured[0]);
  CHECK(cost.launch_us == Approx(5));
  CHECK(grouped_gemm_us(cost, std::array<std::int64_t, 3>{16, 0, 64}) == Approx(5 + 2 + 0.16 + 2 + 0.64).epsilon(0.01));
  CHECK(grouped_gemm_us(cost, std::array<std::int64_t, 2>{0, 0}) == 0);
  auto const validation = validate_gemm(measured[0], GemmHeldOut::ep_sizes);
  CHECK(validation.points.size() == 16);
  CHECK(validation.max_error < 0.01);
}

TEST_CASE("costs come back from JSON equal; hostile ones are refused") {
  CostFile costs;
  costs.curves.push_back(fitted_box());
  costs.gemms.push_back(fit_gemm(read_measured_gemms(gemm_csv(), "gemm.csv")[0]));
  std::string const text = to_json(costs);
  CHECK(cost_file_from_json(text, "costs.json") == costs);
  auto const with = [&](ErrorCode code, std::string const& from, std::string const& to) {
    std::string copy = text;
    copy.replace(copy.find(from), from.size(), to);
    return error_text(code, [&] { (void)cost_file_from_json(copy, "costs.json"); });
  };
  CHECK(contains(with(ErrorCode::invalid_argument, "\"Box GPU\"", "\"\""), "provenance.device is empty"));
  CHECK(contains(with(ErrorCode::parse, "bytes_per_rank", "furlongs"), "tokens_per_rank"));
  CHECK(contains(with(ErrorCode::parse, "switchyard-costs", "costs"), "switchyard-costs"));
}

TEST_CASE("measurements of unknown origin or form are refused") {
  auto const refused = [](std::string const& text) {
    return error_text(ErrorCode::parse, [&] { (void)read_measured_curves(text, "data.csv"); });
  };
  CHECK(contains(refused("a,b\n1,2\n"), "no calibration file"));
  CHECK(contains(refused(""), "header"));
  std::string const header = kHeader;
  CHECK(contains(refused(header + "box,T,2.29,,alltoall,NCCL,half,2,8,0.1\n"), "unknown origin"));
  CHECK(contains(refused(header + "box,T,2.29,GPU,alltoall,NCCL,half,2,8\n"), "line 2 has 9 cells"));
  CHECK(contains(refused(header + "box,T,2.29,GPU,alltoall,NCCL,half,2,8,fast\n"), "use a number"));
}

TEST_CASE("held-out sizes: every second one, rejects listed") {
  auto const result = validate_held_out(read_measured_curves(nccl_csv(), "box.csv")[0]);
  CHECK(result.points.size() == 3);
  CHECK(result.rejected.size() == 1);
  CHECK(result.max_error < 1e-6);
  CHECK(result.within_gates);
}

TEST_CASE("the published all-to-all curves keep their gates") {
  char const* const folder = std::getenv("SWITCHYARD_DATA_DIR");
  if (folder == nullptr) {
    MESSAGE("skipped: SWITCHYARD_DATA_DIR is not set");
    return;
  }
  std::string const file = std::string(folder) + "/calibration/nccl_alltoall.csv";
  auto const curves = read_measured_curves(io::read_file(file), file);
  CHECK(curves.size() == 14);
  for (auto const& curve : curves) {
    auto const result = validate_held_out(curve);
    CAPTURE(result.name);
    CHECK(result.within_gates);
  }
}

TEST_CASE("skewed patterns are predicted from the uniform one alone") {
  std::string text = R"({"schema": "switchyard.alltoallv_samples/1", "machine": "box", "provenance": "by hand",
    "patterns": {}, "ranks": 2, "cases": [)";
  for (int bytes = 1000000; bytes <= 64000000; bytes *= 2)
    for (char const* pattern : {"uniform", "one_direction"}) {
      double const us = 10 + bytes / (pattern == std::string("uniform") ? 100e3 : 50e3);
      text += std::string("{\"pattern\": \"") + pattern + "\", \"total_bytes\": " + std::to_string(bytes) +
              ", \"samples_us\": [" + std::to_string(us) + "]}" +
              (bytes == 64000000 && pattern != std::string("uniform") ? "]}" : ",");
    }
  auto const skewed = validate_skewed(read_measured_curves(text, "box.json"));
  REQUIRE(skewed.size() == 1);
  CHECK(skewed[0].points.size() == 7);
  CHECK(skewed[0].max_error < 1e-6);
}
