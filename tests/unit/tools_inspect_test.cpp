// SPDX-License-Identifier: Apache-2.0
// `switchyard dispatch`, `inspect`, `replay` and `check` as a user runs them: sound files pass, altered ones never do.
#include <doctest/doctest.h>

#include <algorithm>
#include <cctype>

#include "support/cli_runner.hpp"
#include "support/error_text.hpp"

using support::CliRunner;
using support::contains;
using support::last_line;

namespace {

/// Plans of 8 ranks and what a dispatcher without mistakes would record.
void make_group(CliRunner const& cli, std::string const& options = "--tp 2 --ep 4") {
  REQUIRE(cli.run("generate routing --preset log-normal --ranks 8 --experts 8 --topk 2 --tokens 5 --seed 3 "
                  "--out routing.jsonl")
              .exit_code == 0);
  auto const result = cli.run("dispatch --routing routing.jsonl " + options + " --out group.jsonl --record dump.jsonl");
  CAPTURE(result.out);
  CAPTURE(result.err);
  REQUIRE(result.exit_code == 0);
}

/// The digits of the content of `text` behind `from`, every `step`-th, changed one at a time.
template <typename Check>
int for_each_altered(std::string const& text, std::size_t from, std::size_t step, Check const& check) {
  int altered = 0;
  for (std::size_t at = from; at < text.size(); at += step) {
    while (at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])) == 0) ++at;
    if (at >= text.size()) break;
    std::string copy = text;
    copy[at] = copy[at] == '1' ? '2' : '1';
    CAPTURE(at);
    check(copy);
    ++altered;
  }
  return altered;
}

std::string digest_line(std::string const& out) {
  auto const at = out.find("digest     ");
  REQUIRE(at != std::string::npos);
  return out.substr(at, 27);
}

}  // namespace

TEST_CASE("a group is planned, inspected, replayed and checked, in every shape") {
  for (char const* options :
       {"--tp 2 --ep 4", "--tp 1 --ep 8", "--tp 8 --ep 1", "--tp 2 --ep 4 --row-order rank_major",
        "--tp 2 --ep 3 --capacity-factor 1.25", "--tp 1 --ep 4 --capacity-factor 1 --pad --drop position",
        "--tp 1 --ep 2 --capacity-factor 5/4 --capacity-rule exact", "--tp 1 --ep 1",
        "--tp 2 --ep 4 --family allgather", "--tp 2 --ep 4 --family flex",
        "--tp 2 --ep 2 --family flex --row-order tp_major", "--tp 2 --ep 4 --tp-extend-ep",
        "--tp 1 --ep 1 --family megablocks", "--tp 1 --ep 1 --family megablocks --capacity-factor 0.5",
        "--tp 1 --ep 4 --family megablocks --bins capacity", "--tp 2 --ep 4 --family megablocks --bins blocks",
        "--tp 2 --ep 4 --family megablocks --bins blocks --block-rows 3",
        "--tp 2 --ep 4 --family megablocks --capacity-factor 0.2"}) {
    CAPTURE(options);
    CliRunner const cli;
    make_group(cli, options);
    for (char const* arguments : {"inspect group.jsonl", "replay group.jsonl", "check dump.jsonl"}) {
      CAPTURE(arguments);
      auto const result = cli.run(arguments);
      CAPTURE(result.out);
      CHECK(result.exit_code == 0);
      CHECK(result.err.empty());
      CHECK(contains(last_line(result.out), "ok"));
      auto const json = cli.run(std::string(arguments) + " --format json");
      CHECK(json.exit_code == 0);
      CHECK(contains(json.out, "\"schema_version\": 1"));
      CHECK(contains(json.out, "\"ok\": true"));
    }
  }
}

TEST_CASE("a placement with replicas: tokens go to the replica that the recording's layer says") {
  CliRunner const cli;
  REQUIRE(
      cli.run("generate load --preset olmoe --layers 1 --experts 8 --topk 2 --tokens 200 --out load.json").exit_code ==
      0);
  REQUIRE(cli.run("plan --load load.json --experts 8 --gpus 4 --slots 12 --out plan.json").exit_code == 0);
  make_group(cli, "--tp 2 --ep 4 --placement plan.json");
  CHECK(contains(cli.run("inspect group.jsonl").out, "8 experts in 12 slots"));
  CHECK(cli.run("replay group.jsonl").exit_code == 0);
  CHECK(cli.run("check dump.jsonl").exit_code == 0);
  auto const plan = cli.run("inspect plan.json");
  CHECK(plan.exit_code == 0);
  CHECK(contains(plan.out, "1 layers x 8 experts, 12 slots on 4 ranks"));
  CHECK(contains(cli.run("inspect plan.json --format json").out, "\"kind\": \"rebalance_plan\""));
}

TEST_CASE("the digest of a replay depends on the plans alone") {
  CliRunner const cli;
  make_group(cli);
  auto const first = digest_line(cli.run("replay group.jsonl").out);
  for (char const* options : {"--scheduler threads", "--seed 7", "--seed 8"})
    CHECK(digest_line(cli.run(std::string("replay group.jsonl ") + options).out) == first);
  make_group(cli, "--tp 2 --ep 4 --row-order rank_major");
  CHECK(digest_line(cli.run("replay group.jsonl").out) != first);
}

TEST_CASE("families differ in their stages, not in what arrives: one digest for one row order") {
  CliRunner const cli;
  std::string first;
  for (char const* family : {"alltoall", "allgather", "flex"}) {
    make_group(cli, std::string("--tp 2 --ep 4 --row-order rank_major --family ") + family);
    CHECK(contains(cli.run("inspect group.jsonl").out, std::string("megatron_") + family));
    auto const digest = digest_line(cli.run("replay group.jsonl").out);
    if (first.empty()) first = digest;
    CHECK(digest == first);
  }
}

TEST_CASE("hidden shards, bins and drops show in a MegaBlocks group") {
  CliRunner const cli;
  make_group(cli, "--tp 2 --ep 4 --family megablocks --capacity-factor 0.2");
  auto const shown = cli.run("inspect group.jsonl").out;
  CAPTURE(shown);
  CHECK(contains(shown, "megablocks"));
  auto const dump = cli.read("dump.jsonl");
  std::string const name = "\"bin_rows\":[";
  auto const at = dump.find(name, dump.find("\"rank\":5"));
  REQUIRE(at != std::string::npos);
  auto wrong = dump;
  wrong.insert(at + name.size(), 1, '7');
  cli.write("wrong.jsonl", wrong);
  auto const result = cli.run("check wrong.jsonl");
  CHECK(result.exit_code == 1);
  CHECK(contains(last_line(result.out), "WRONG: dispatch 0, rank 5, bin_rows[0]: expected 0, got 70"));
}

TEST_CASE("every digit of a group file counts") {
  CliRunner const cli;
  make_group(cli);
  auto const group = cli.read("group.jsonl");
  int const altered = for_each_altered(group, group.find("\"setup\""), 397, [&](std::string const& text) {
    cli.write("altered.jsonl", text);
    for (char const* command : {"inspect altered.jsonl", "replay altered.jsonl"}) {
      auto const code = cli.run(command).exit_code;
      CHECK((code == 1 || code == 2));
    }
  });
  CHECK(altered > 10);
  auto const lines = group.substr(0, group.find('\n') + 1);
  cli.write("one.jsonl", lines);  // one rank of eight
  CHECK(cli.run("inspect one.jsonl").exit_code == 1);
  auto const replayed = cli.run("replay one.jsonl");
  CHECK(replayed.exit_code == 1);
  CHECK(contains(replayed.out, "1 plans for a world of 8 ranks"));
}

TEST_CASE("check names the first wrong integer") {
  CliRunner const cli;
  make_group(cli);
  auto const dump = cli.read("dump.jsonl");
  std::string const name = "\"input_splits\":[";
  auto const at = dump.find(name, dump.find("\"rank\":3"));
  REQUIRE(at != std::string::npos);
  auto const comma = dump.find(',', at + name.size());
  cli.write("wrong.jsonl", dump.substr(0, comma + 1) + "77" + dump.substr(dump.find(',', comma + 1)));
  auto const result = cli.run("check wrong.jsonl");
  CAPTURE(result.out);
  CHECK(result.exit_code == 1);
  CHECK(contains(last_line(result.out), "WRONG: dispatch 0, rank 3, input_splits[1]: expected "));
  CHECK(contains(last_line(result.out), ", got 77"));
  auto const json = cli.run("check wrong.jsonl --format json");
  CHECK(json.exit_code == 1);
  CHECK(contains(json.out, "\"field\": \"input_splits\""));
  CHECK(contains(json.out, "\"got\": 77"));

  // One file per rank, and every second call wrong: the call is named.
  std::string files;
  std::size_t begin = 0;
  for (int rank = 0; rank < 8; ++rank) {
    auto const end = dump.find('\n', begin) + 1;
    auto const line = dump.substr(begin, end - begin);
    std::string second = line;
    if (rank == 5) second[second.find("\"row_tags\":[") + 12] = '7';
    std::string file_name = "rank";
    file_name.append(std::to_string(rank)).append(".jsonl");
    cli.write(file_name, line + second);
    files.insert(0, file_name + " ");
    begin = end;
  }
  auto const later = cli.run("check " + files);
  CHECK(later.exit_code == 1);
  CHECK(contains(last_line(later.out), "WRONG: dispatch 1, rank 5, row_tags[0]"));
}

TEST_CASE("unusable files and options end with exit code 2 and one line, and write nothing") {
  CliRunner const cli;
  make_group(cli);
  auto const dump = cli.read("dump.jsonl");
  cli.write("empty.jsonl", "");
  cli.write("braces.json", "{}");
  cli.write("cut.jsonl", dump.substr(0, dump.size() / 2));
  cli.write("part.jsonl", dump.substr(0, dump.find('\n') + 1));
  cli.write("bare.jsonl",
            R"({"type":"dispatch","schema_version":1,"rank":0,"tp":1,"ep":1,"num_experts":1,"routing":[[0]]})");
  auto const before = cli.entries();
  for (char const* arguments :
       {"inspect none.json",
        "inspect empty.jsonl",
        "inspect braces.json",
        "inspect dump.jsonl",
        "inspect",
        "replay empty.jsonl",
        "replay dump.jsonl",
        "replay",
        "check",
        "check none.jsonl",
        "check empty.jsonl",
        "check cut.jsonl",
        "check part.jsonl",
        "check dump.jsonl part.jsonl",
        "check bare.jsonl",
        "check group.jsonl",
        "dispatch --routing routing.jsonl --ep 0 --out x",
        "dispatch --routing routing.jsonl --ep 2 --pad --out x",
        "dispatch --routing none.jsonl --ep 2 --out x",
        "dispatch --routing routing.jsonl --ep 2 --family x --out x",
        "dispatch --routing routing.jsonl --ep 2 --bins blocks --out x",
        "dispatch --routing routing.jsonl --ep 2 --family megablocks --pad --out x",
        "dispatch --routing routing.jsonl --ep 2 --family megablocks --bins blocks --capacity-factor 1 --out x",
        "dispatch --routing routing.jsonl --ep 2 --family megablocks --tp-extend-ep --out x",
        "dispatch --routing routing.jsonl --ep 2 --family flex --tp-extend-ep --out x",
        "dispatch --routing routing.jsonl --ep 65536 --tp 2 --out x",
        "dispatch --routing routing.jsonl --ep 2 --capacity-factor 9 --pad --out x",
        "dispatch --routing routing.jsonl --ep 2 --capacity-factor x --capacity-rule exact --out x"}) {
    CAPTURE(arguments);
    auto const result = cli.run(arguments);
    CAPTURE(result.out);
    CAPTURE(result.err);
    CHECK(result.exit_code == 2);
    CHECK(result.out.empty());
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
  }
  CHECK(cli.entries() == before);
}
