// SPDX-License-Identifier: Apache-2.0
// Calibration inputs that are not tables of commas: what nccl-tests print, and the lines of the GPU benchmarks.
//
// Worked example: alltoall_perf on two GPUs says 1,048,576 bytes took 40.50 us out of place, in place N/A. That is one
// sample of 40.5 us at 1,048,576 bytes per rank of the curve "alltoall Box GPU x2", an average of 20 timed calls of
// NCCL 2.28.3. Without the device lines nobody can say of what machine, so the file is refused.
#include <doctest/doctest.h>

#include <array>
#include <string>

#include "support/error_text.hpp"
#include "switchyard/sim/cost_file.hpp"
#include "switchyard/sim/row_kernels.hpp"
#include "switchyard/sim/validation.hpp"

using namespace switchyard;
using namespace switchyard::sim;
using doctest::Approx;
using support::contains;
using support::error_text;

namespace {

constexpr char const* kColumns =
    "#\n#                                                              out-of-place                       in-place\n"
    "#       size         count      type   redop    root     time   algbw   busbw #wrong     time   algbw   busbw "
    "#wrong\n"
    "#        (B)    (elements)                               (us)  (GB/s)  (GB/s)            (us)  (GB/s)  (GB/s)\n";
constexpr char const* kDevices =
    "# Using devices\n"
    "#  Rank  0 Group  0 Pid   4711 on      host device  0 [0x1b] Box GPU\n"
    "#  Rank  1 Group  0 Pid   4711 on      host device  1 [0x43] Box GPU\n";
constexpr char const* kCalls =
    "# nThread 1 nGpus 2 minBytes 8 maxBytes 1048576 step: 2(factor) warmup iters: 5 iters: 20 agg iters: 1 "
    "validation: 1 graph: 0\n";

std::string header(std::string const& name = "alltoall_perf") {
  return "# nccl-tests version 2.17.1 nccl-headers=22803 nccl-library=22803\n# Collective test starting: " + name +
         "\n" + kCalls + kDevices + kColumns;
}

std::string row(std::string const& bytes, std::string const& us, std::string const& in_place,
                std::string const& wrong) {
  return "  " + bytes + "  64  float  none  -1  " + us + "  0.1  0.1  0  " + in_place + "  0.1  0.1  " + wrong + "\n";
}

std::string without(std::string text, std::string const& part) {
  return text.erase(text.find(part), part.size());
}

std::string refused(std::string const& text, std::string const& file = "run.txt") {
  return error_text(ErrorCode::parse, [&] { (void)read_measured_curves(text, file); });
}

constexpr char const* kDevice = "{\"device\": \"Box GPU, compute capability 9.0, CUDA runtime 13.0\"}\n";
constexpr char const* kNccl = "{\"nccl\": \"NCCL 2.28.3 at run time\"}\n";

}  // namespace

TEST_CASE("the worked example: a table of alltoall_perf") {
  std::string const text = header() + row("0", "5.25", "5.20", "N/A") + "host:1:1 [0] NCCL INFO something\n" +
                           row("1048576", "40.50", "39.0", "N/A") +
                           "# Out of bounds values : 0 OK\n# Avg bus bandwidth\n";
  auto const curves = read_measured_curves(text, "folder/run.txt");
  REQUIRE(curves.size() == 1);
  CHECK(to_string(curves[0].key) == "alltoall Box GPU x2");
  CHECK(curves[0].samples == std::vector<Measurement>{{0, 5.25}, {1048576, 40.5}});
  CHECK(curves[0].provenance.device == "Box GPU");
  CHECK(curves[0].provenance.version == "NCCL 2.28.3");
  CHECK(curves[0].provenance.statistic == "average of 20 timed calls");
  CHECK(curves[0].provenance.file == "run.txt");
  CHECK(fit(curves[0]).fit.curve.knots.size() == 2);
}

TEST_CASE("both places of a test that works in place are curves of their own, and only one feeds clusters") {
  auto const curves = read_measured_curves(header("all_reduce_perf") + row("8", "10", "9", "0"), "run.txt");
  REQUIRE(curves.size() == 2);
  CHECK(to_string(curves[0].key) == "all_reduce Box GPU x2");
  CHECK(to_string(curves[1].key) == "all_reduce Box GPU x2 in-place");
  CostFile costs;
  for (auto const& curve : read_measured_curves(header() + row("8", "10", "9", "0"), "run.txt"))
    costs.curves.push_back(fit(curve));
  CHECK(costs.curves.size() == 2);
  CHECK(alltoall_curves(costs, "").size() == 1);
}

TEST_CASE("older output: version on a line of its own, the test told by the file's name") {
  std::string const text =
      std::string(kCalls) + kDevices + "NCCL version 2.18.3+cuda12.2\n" + kColumns + row("1024", "12", "12", "0");
  CHECK(contains(refused(text), "name of the test"));
  auto const curves = read_measured_curves(text, "sendrecv_perf.txt");
  CHECK(curves.at(0).key.operation == "sendrecv");
  CHECK(curves.at(0).provenance.version == "NCCL 2.18.3+cuda12.2");
}

TEST_CASE("what a table of unknown origin lacks is named, with its line") {
  std::string const text = header() + row("8", "10", "9", "0");
  REQUIRE(read_measured_curves(text, "run.txt").size() == 2);
  CHECK(contains(refused(without(text, kDevices)), "no devices"));
  CHECK(contains(refused(without(text, kCalls)), "no number of timed calls"));
  CHECK(contains(refused(without(text, " nccl-library=22803")), "NCCL_DEBUG=VERSION"));
  CHECK(contains(refused(without(text, " nccl-library=22803")), "run.txt: line 9"));
}

TEST_CASE("wrong columns, cut rows, wrong results and mixed devices are refused with their line") {
  std::string const text = header() + row("8", "10", "9", "0");
  CHECK(contains(refused(without(text, "  redop")), "line 9: 12 columns"));
  CHECK(contains(refused(text + "  16  4  float\n"), "line 12 has 3 cells"));
  CHECK(contains(refused(text + row("16", "ten", "9", "0")), "line 12: found \"ten\""));
  CHECK(contains(refused(header() + row("16", "10", "9", "3")), "line 11: found \"3\", wrong results"));
  std::string mixed = text;
  mixed.replace(mixed.rfind("Box GPU"), 7, "Old GPU");
  CHECK(contains(refused(mixed), "\"Old GPU\" after \"Box GPU\""));
  CHECK(contains(refused(header()), "did not finish"));
}

TEST_CASE("several runs in one log; logs cut off anywhere are read or refused, never half understood") {
  std::string const text = header() + row("8", "10", "9", "N/A") + header("sendrecv_perf") + row("16", "12", "9", "0");
  auto const curves = read_measured_curves(text, "run.txt");
  REQUIRE(curves.size() == 3);
  CHECK(to_string(curves[0].key) == "alltoall Box GPU x2");
  CHECK(to_string(curves[1].key) == "sendrecv Box GPU x2");
  std::string const bench = std::string(kDevice) + kNccl +
                            R"({"name": "a 1", "ranks": 2, "tokens": 3, "bytes": 1, "samples_us": [1, 2]})"
                            "\n";
  int read = 0, cut = 0;
  for (std::string const& whole : {text, bench})
    for (std::size_t length = 0; length < whole.size(); ++length) try {
        for (auto const& curve : read_measured_curves(whole.substr(0, length), "cut.txt"))
          require_valid(curve.provenance);
        ++read;
      } catch (Error const& error) {
        CHECK(error.code() == ErrorCode::parse);
        ++cut;
      }
  CHECK(read > 0);
  CHECK(cut > 1000);
}

TEST_CASE("lines of the GPU benchmarks: names that differ in numbers are one curve") {
  std::string const text =
      std::string(kDevice) + kNccl +
      R"({"name": "permute 4096 rows", "rows": 4096, "hidden": 7168, "bytes": 1000, "median_us": 2, "samples_us": [2, 3]})"
      "\n"
      R"({"name": "permute 32768 rows", "rows": 32768, "hidden": 7168, "bytes": 8000, "median_us": 9, "samples_us": [9]})"
      "\n\n"
      R"({"name": "dispatch fused T=128", "tokens": 128, "ranks": 2, "bytes": 7, "median_us": 4, "samples_us": [4]})"
      "\n"
      R"({"name": "alltoallv zipf 65536", "total_bytes": 65536, "ranks": 2, "bytes": 7, "median_us": 4, "samples_us": [5]})"
      "\n";
  auto const curves = read_measured_curves(text, "folder/ranks.json");
  REQUIRE(curves.size() == 3);
  CHECK(to_string(curves[0].key) == "permute N rows Box GPU hidden=7168");
  CHECK(curves[0].key.unit == SizeUnit::bytes_moved);
  CHECK(curves[0].samples == std::vector<Measurement>{{1000, 2}, {1000, 3}, {8000, 9}});
  CHECK(curves[0].provenance.version == "compute capability 9.0, CUDA runtime 13.0, NCCL 2.28.3 at run time");
  CHECK(to_string(curves[1].key) == "dispatch fused T=N Box GPU x2");
  CHECK(curves[1].samples == std::vector<Measurement>{{128, 4}});
  CHECK(curves[2].key.operation == "alltoallv");
  CHECK(curves[2].key.variant == "zipf");
  CostFile costs;
  for (auto const& curve : curves) costs.curves.push_back(fit(curve));
  CHECK(cost_file_from_json(to_json(costs), "costs.json") == costs);
}

TEST_CASE("lines of a benchmark that do not say where they are from are refused") {
  std::string const one = R"({"name": "a", "bytes": 1, "samples_us": [1]})"
                          "\n";
  std::string const ranks = R"({"name": "alltoallv uniform 1", "ranks": 2, "total_bytes": 1, "samples_us": [1]})"
                            "\n";
  CHECK(contains(refused(one + one), "line 1"));
  CHECK(contains(refused(one + one), "unknown origin"));
  CHECK(contains(refused(kDevice + ranks), "the version is not known"));
  CHECK(contains(refused("{\"device\": \"Box GPU\"}\n" + one), "the version is not known"));
  CHECK(contains(refused(std::string(kDevice) + kNccl), "did not finish"));
  CHECK(contains(refused(std::string(kDevice) + "{\"name\": \"a\"}\n"), "bytes"));
}

TEST_CASE("a pair's two directions go as even ones do, the rest of the fuller one alone; ports and channels bind") {
  // 20 us, then 100 GB/s and direction between two ranks, 150 out of a port with four.
  FittedCurve pair, four;
  pair.key = {"alltoall", "box", 2, "", SizeUnit::bytes_per_rank};
  pair.fit.curve.knots = {{0, 20}, {2e6, 30}, {2e8, 1020}};  // half leaves: 1 MB in 10 us
  four.key = {"alltoall", "box", 4, "", SizeUnit::bytes_per_rank};
  four.fit.curve.knots = {{0, 20}, {2e8, 1020}};  // three quarters leave: 150 GB/s
  ClusterSpec spec;
  spec.name = "box";
  spec.gpus_per_node = 2;
  spec.intra_node.gpu_gb_per_s = spec.intra_node.peer_gb_per_s = 180;  // 82 % of it are less than 150
  auto const time_us = [&](std::vector<Flow> const& flows) {
    ClusterTopology const topology(calibrated_cluster(spec, std::array{pair, four}, flows));
    return make_network_model(Fidelity::t1)->estimate(topology, flows).makespan_us;
  };
  Flow const there{RankId(0), RankId(1), 60000000, 1, 0}, back{RankId(1), RankId(0), 60000000, 1, 0};
  Flow const little{RankId(1), RankId(0), 15000000, 1, 0};
  CHECK(time_us({there, back}) == Approx(620));
  CHECK(time_us({there}) == Approx(20 + 60e6 / 150e3));
  CHECK(time_us({there, little}) == Approx(20 + 150 + 45e6 / 150e3));
  spec.intra_node.gpu_gb_per_s = spec.intra_node.peer_gb_per_s = 250;
  double const channels_bytes_per_us = 2e8 / 1020;  // both ways at the largest size, less than the port's 206 GB/s
  CHECK(time_us({there}) == Approx(20 + 60e6 / channels_bytes_per_us));
  CHECK(time_us({there, back}) == Approx(620));

  // Among four ranks a pair has 8 channels of the 16, until parts exceed 16 MiB. Small messages
  // go by another protocol: as fast as two ranks' small ones do, 100 GB/s each way over 16 channels.
  spec.gpus_per_node = 4;
  CHECK(time_us({there}) == Approx(20 + 60e6 / (channels_bytes_per_us / 2)));
  Flow const large{RankId(0), RankId(1), 200000000, 1, 0}, small{RankId(0), RankId(1), 400000, 1, 0};
  CHECK(time_us({large}) == Approx(20 + 200e6 / channels_bytes_per_us));
  CHECK(time_us({small}) == Approx(20 + 400e3 / (2 * 100e3 / 2)));
  CHECK(time_us({there, back}) == Approx(20 + 2 * 600).epsilon(1e-9));

  // Incast is what a port carries one way.
  Flow const second{RankId(2), RankId(1), 60000000, 1, 0}, third{RankId(3), RankId(1), 60000000, 1, 0};
  CHECK(time_us({there, second, third}) == Approx(20 + 180e6 / (250e3 * 20.6 / 25)));
}

TEST_CASE("tiles of an expert and the tokens of a batch are found, and cost what they were made of") {
  // 5 us + 0.01 us a token + per expert 6 us a tile of 128 rows + 3 us + rows / 50.
  std::string text =
      "framework,version,device,moe_dtype,num_tokens,hidden_size,inter_size,topk,num_experts,moe_tp_size,moe_ep_size,"
      "distribution,latency\n";
  for (int ep = 1; ep <= 8; ep *= 2)
    for (int const rows : {1, 2, 4, 8, 16, 64, 96, 128, 192, 256, 320, 384, 512, 640, 768, 1024}) {
      int const tokens = rows * 4;
      double const us = 5 + 0.01 * tokens + 8.0 / ep * (6 * ((rows + 127) / 128) + 3 + rows / 50.0);
      text += "F,1,Box GPU,bf16," + std::to_string(tokens) + ",64,64,2,8,1," + std::to_string(ep) + ",balanced," +
              std::to_string(us / 1000) + "\n";
    }
  auto const measured = read_measured_gemms(text, "gemm.csv");
  auto const cost = fit_gemm(measured.at(0));
  CHECK(cost.launch_us == Approx(5).epsilon(0.05));
  CHECK(cost.token_us == Approx(0.01).epsilon(0.02));
  CHECK(cost.tile_rows == 128);
  CHECK(cost.tile_us > 2);
  std::array<std::int64_t, 1> const full{128}, one_more{129};
  CHECK(grouped_gemm_us(cost, one_more) - grouped_gemm_us(cost, full) > 2);
  CHECK(grouped_gemm_us(cost, full, 1000) - grouped_gemm_us(cost, full) == Approx(10).epsilon(0.02));
  CHECK(validate_gemm(measured[0], GemmHeldOut::row_counts).p90_error < 0.1);
  CHECK_THROWS_AS((void)grouped_gemm_us(cost, full, -1), Error);
}

TEST_CASE("kernels around an exchange: what the slowest rank moves, a launch below the first knot") {
  auto const curve = [](SizeUnit unit, std::vector<Measurement> knots) {
    FittedCurve fitted;
    fitted.key = {"kernel", "box", 0, "", unit};
    fitted.fit.curve.knots = std::move(knots);
    return fitted;
  };
  CostCurve const line{{{1000, 7}, {2000, 12}}};  // 2 us and 5 us a thousand
  CHECK(kernel_us(line, 0) == 0);
  CHECK(kernel_us(line, 200) == Approx(3));
  CHECK(kernel_us(line, 4000) == Approx(22));
  CHECK(kernel_us(CostCurve{{{1000, 7}}}, 1) == 7);
  RowKernels kernels;
  kernels.plan = curve(SizeUnit::tokens_per_rank, {{1, 4}, {100, 4}});
  kernels.quantize = curve(SizeUnit::bytes_moved, {{1000, 7}, {2000, 12}});
  kernels.permute = kernels.quantize;
  std::array const ranks{RankRows{10, 0}, RankRows{0, 0}, RankRows{5, 40}};
  auto const phases = kernel_phases(kernels, ranks, 100);
  REQUIRE(phases.before.size() == 3);
  CHECK(phases.after.empty());
  CHECK(phases.before[0].time_us == 4);
  CHECK(phases.before[1].time_us == Approx(17));  // 10 tokens of 200 bytes in, 100 out
  CHECK(phases.before[1].bottleneck == "kernel of rank 0");
  CHECK(phases.before[2].time_us == Approx(24.5));  // 45 rows in and out
  CHECK(phases.before[2].bottleneck == "kernel of rank 2");
  kernels.combine = kernels.plan;
  CHECK(contains(error_text(ErrorCode::invalid_argument, [&] { (void)kernel_phases(kernels, ranks, 100); }),
                 "over bytes_moved"));
}

TEST_CASE("verdicts: pairs beyond twice the spread, among rivals only") {
  auto const curve = [](std::string const& rivals, double measured, double predicted, double spread) {
    CurveValidation one = summarised("c", false, {{1, measured, predicted, spread}}, {}, spread);
    one.rivals = rivals;
    return one;
  };
  std::array const curves{curve("x box", 100, 90, 0.02), curve("x box", 103, 80, 0.02), curve("x box", 110, 95, 0.02),
                          curve("x box", 200, 70, 0.02), curve("y box", 300, 1, 0.02),  curve("", 400, 2, 0)};
  // 100 and 103 are within 2 x 2 %; 100-110 and 103-110 agree; 200 is predicted fastest, wrong against all three.
  auto const verdicts = verdict_agreement(curves);
  REQUIRE(verdicts.size() == 1);
  CHECK(verdicts[0].kind == "x");
  CHECK(verdicts[0].compared == 5);
  CHECK(verdicts[0].agreed == 2);
  CHECK_FALSE(within_gate(verdicts[0]));
  CHECK(within_gate({"x", 100, 95}));
  CHECK(within_gate({"x", 0, 0}));
  std::array const once{curve("x box", 100, 90, 0), curve("x box", 101, 80, 0.02)};
  CHECK_FALSE(verdict_agreement(once)[0].spread_known);
  CHECK(within_gate(verdict_agreement(once)[0]));
}

TEST_CASE("few samples show less than their spread") {
  std::array<Measurement, 2> const two{{{1, 99}, {1, 101}}};
  CHECK(measurement_spread(two) == Approx(2.272 / 99));
  CHECK(measurement_spread(std::array<Measurement, 2>{{{1, 99}, {2, 101}}}) == 0);
}
