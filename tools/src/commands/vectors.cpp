// SPDX-License-Identifier: Apache-2.0
// switchyard vectors: runs the peers' golden vectors through a backend.
#include "vectors/vectors.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <optional>

#include "cli/progress.hpp"
#include "cli/table.hpp"
#include "commands/commands.hpp"
#include "switchyard/io/file.hpp"

namespace switchyard::cli {
namespace {

std::vector<vectors::KindResult> run_file(std::string const& file, std::string const& only,
                                          vectors::VectorBackend backend) {
  std::string const text = io::read_file(file);
  std::optional<Progress> progress;
  return vectors::run_vectors(text, file, only, backend, [&](std::int64_t done, std::int64_t total) {
    if (!progress) progress.emplace("golden case", total);
    progress->set(done);
  });
}

void print_kinds(std::vector<vectors::KindResult> const& results) {
  TextTable table({"kind", "passed", "failed", "skipped"});
  for (auto const& result : results) {
    table.add_row({result.kind, grouped(result.passed), grouped(result.failed), grouped(result.skipped)});
  }
  fmt::print("{}", table.str());
  for (auto const& result : results) {
    if (!result.first_mismatch.empty()) fmt::print("first {} mismatch: {}\n", result.kind, result.first_mismatch);
    if (!result.skip_reason.empty()) fmt::print("{} skipped: {}\n", result.kind, result.skip_reason);
  }
}

ExitCode run_vectors_command(ParsedOptions const& options) {
  std::string const file = options.text("FILE");
  std::string const only = options.has("only") ? options.choice("only", vectors::kind_names()) : std::string();
  bool const cuda = options.choice("backend", {"cpu", "cuda"}) == "cuda";
  auto const results = run_file(file, only, cuda ? vectors::VectorBackend::cuda : vectors::VectorBackend::cpu);
  if (results.empty())
    throw UsageError(fmt::format("{} holds no {} case: drop --only to see what it holds", file, only));
  std::int64_t passed = 0;
  std::int64_t failed = 0;
  std::int64_t skipped = 0;
  for (auto const& result : results) {
    passed += result.passed;
    failed += result.failed;
    skipped += result.skipped;
  }
  print_kinds(results);
  fmt::print("{} passed, {} failed{}\n", passed, failed, skipped > 0 ? fmt::format(", {} skipped", skipped) : "");
  return failed > 0 ? ExitCode::found_wrong : ExitCode::ok;
}

}  // namespace

Command vectors_command() {
  return {"vectors",
          "runs a file of golden vectors through a backend",
          fmt::format("Every case is run and compared field by field; the kinds are {}.\n"
                      "The last line is 'N passed, M failed', with ', K skipped' when some execute no plan and the "
                      "backend is cuda.\n",
                      fmt::join(vectors::kind_names(), ", ")),
          {{"FILE", OptionKind::positional, "FILE", "", "golden vectors, JSON"},
           {"only", OptionKind::optional, "KIND", "", "run the cases of one kind"},
           {"backend", OptionKind::optional, "cpu|cuda", "cpu", "what executes the plans of the cases"}},
          {"switchyard vectors megatron_dev.json --only alltoall"},
          run_vectors_command};
}

}  // namespace switchyard::cli
