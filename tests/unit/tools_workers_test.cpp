// SPDX-License-Identifier: Apache-2.0
// Same input, same bytes out, on any number of threads: whatever the commands that time plans print or write with 1
// worker, they print and write with 2 and with 7.
//
// Variations are what workers share: 2 per constant that is in use, so that 7 workers do not divide them evenly.
#include <doctest/doctest.h>

#include <initializer_list>
#include <string>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;

namespace {

void make_plans(CliRunner const& cli) {
  for (char const* seed : {"3", "4"}) {
    std::string const name = seed;
    REQUIRE(cli.run("generate routing --preset log-normal --ranks 16 --experts 64 --topk 4 --tokens 32 --seed " + name +
                    " --out routing" + name + ".jsonl")
                .exit_code == 0);
    REQUIRE(cli.run("dispatch --routing routing" + name + ".jsonl --ep 16 --family flex --out group" + name + ".jsonl")
                .exit_code == 0);
  }
}

/// Runs a call with 1, 2 and 7 workers. @param files that it writes.
void check_same(CliRunner const& cli, std::string const& call, std::initializer_list<char const*> files = {}) {
  CAPTURE(call);
  auto const outputs = [&](char const* workers) {
    auto const result = cli.run(call + " --workers " + workers);
    CAPTURE(result.err);
    REQUIRE(result.exit_code == 0);
    std::string all = result.out;
    for (char const* file : files) {
      all += cli.read(file);
      std::filesystem::remove(cli.work() / file);
    }
    return all;
  };
  std::string const one = outputs("1");
  CHECK(one.size() > 100);
  for (char const* workers : {"2", "7"}) {
    CAPTURE(workers);
    CHECK(outputs(workers) == one);
  }
}

}  // namespace

TEST_CASE("same bytes with 1, 2 and 7 workers") {
  CliRunner const cli;
  make_plans(cli);
  for (char const* fidelity : {"t1 --merge 0.01", "t2"}) {
    std::string const model = std::string(" --cluster dgx-h100 --fidelity ") + fidelity;
    check_same(cli, "simulate group3.jsonl --format json --trace t.json --html r.html" + model, {"t.json", "r.html"});
    check_same(cli, "compare group3.jsonl group4.jsonl --format json" + model);
    check_same(cli, "sweep group3.jsonl group4.jsonl --vary nic_gb_per_s=10..400:5 --format json" + model);
    check_same(cli,
               "trace group3.jsonl group4.jsonl --layers 2 --batches 2 --attention-us 50 --sensitivity --format json "
               "--out t.json --html r.html" +
                   model,
               {"t.json", "r.html"});
  }
}

TEST_CASE("same bytes of a validation with 1, 2 and 7 workers") {
  CliRunner const cli;
  std::string csv = "system,framework,version,device,op_name,kernel_source,nccl_dtype,num_gpus,message_size,latency\n";
  for (int ranks = 2; ranks <= 8; ranks *= 2)
    for (int bytes = 1024; bytes <= 1 << 20; bytes *= 2)
      csv += "box,T,2.29,Box GPU,alltoall,NCCL,int8," + std::to_string(ranks) + "," + std::to_string(bytes) + "," +
             std::to_string((10 + bytes / 1000.0) / 1000) + "\n";
  cli.write("times.csv", csv);
  check_same(cli, "simulate --validate times.csv");
  check_same(cli, "simulate --validate times.csv --format json");
}
