// SPDX-License-Identifier: Apache-2.0
#include "vectors/vectors.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "switchyard/internal/json_value.hpp"
#include "switchyard/types/error.hpp"
#include "vectors/allgather.hpp"
#include "vectors/alltoall.hpp"
#include "vectors/eplb.hpp"
#include "vectors/flex.hpp"
#include "vectors/megablocks.hpp"
#include "vectors/router.hpp"

namespace switchyard::vectors {
namespace {

/// How the cases of a kind are run; one of the two is given.
struct Kind {
  std::string_view name;
  std::string (*executed)(io::JsonValue const&, tools::DispatchBackend const&) = nullptr;  ///< on a backend
  std::string (*computed)(io::JsonValue const&) = nullptr;                                 ///< on the host, by core
};

std::string run_routed_case(io::JsonValue const& golden, tools::DispatchBackend const& backend) {
  return run_router_case_by(backend.route != nullptr ? backend.route : route_on_host, golden);
}

constexpr Kind kKinds[] = {{"alltoall", tools::run_alltoall_case},
                           {"allgather", tools::run_allgather_case},
                           {"flex", tools::run_flex_case},
                           {"megablocks", tools::run_megablocks_case},
                           {"router", run_routed_case},
                           {"eplb-exec", run_eplb_moved_case},
                           {"eplb-policy", nullptr, run_eplb_policy_case}};

/// The lists of a golden file that hold cases.
constexpr std::string_view kCaseLists[] = {"cases", "invalid_cases", "megablocks_batched_loss"};

Kind const* find_kind(std::string_view name) {
  auto const* found =
      std::find_if(std::begin(kKinds), std::end(kKinds), [&](Kind const& kind) { return kind.name == name; });
  return found == std::end(kKinds) ? nullptr : found;
}

/// A case says its kind by its members, not by its file's name.
std::string kind_name_of(io::JsonValue const& vector) {
  if (auto const dispatcher = vector.find("dispatcher")) return dispatcher->as_string();
  if (vector.find("phy2log")) return "eplb-policy";
  if (vector.find("old") && vector.find("new")) return "eplb-exec";
  if (vector.find("logits") || vector.find("loss")) return "router";
  if (vector.find("world") && vector.find("ranks")) return "megablocks";
  vector.fail("its members are those of no kind of golden case (golden FORMAT.md)");
}

Kind const& kind_of(io::JsonValue const& vector) {
  Kind const* kind = find_kind(kind_name_of(vector));
  if (kind == nullptr) vector.at("dispatcher").fail("is no known dispatcher: alltoall, allgather or flex");
  return *kind;
}

/// A case that the library refuses is a mismatch; a case that cannot be read is the file's fault and ends the run.
std::string mismatch_of(Kind const& kind, io::JsonValue const& vector, tools::DispatchBackend const* cuda) {
  try {
    if (kind.executed == nullptr) return kind.computed(vector);
    return kind.executed(vector, cuda != nullptr ? *cuda : tools::cpu_dispatch_backend());
  } catch (Error const& error) {
    if (error.code() == ErrorCode::parse) throw;
    return fmt::format("refused with {}", error.what());
  }
}

std::string origin_of(std::string const& file_name, io::JsonValue const& vector) {
  auto const name = vector.find("name");
  return fmt::format("{}: {}{}", file_name, vector.path(), name ? fmt::format(" '{}'", name->as_string()) : "");
}

void run_case(std::string const& file_name, Kind const& kind, io::JsonValue const& vector,
              tools::DispatchBackend const* cuda, KindResult& result) {
  if (cuda != nullptr && kind.executed == nullptr) {
    ++result.skipped;
    result.skip_reason = "what these cases hold is computed on the host: run them with --backend cpu";
    return;
  }
  std::string const mismatch = mismatch_of(kind, vector, cuda);
  if (mismatch.empty()) {
    ++result.passed;
  } else if (result.failed++ == 0) {
    result.first_mismatch = fmt::format("{}: {}", origin_of(file_name, vector), mismatch);
  }
}

std::vector<io::JsonValue> cases_of(io::JsonValue const& root) {
  std::vector<io::JsonValue> cases;
  for (std::string_view const list : kCaseLists) {
    auto const found = root.find(list);
    for (std::size_t i = 0; found && i < found->array_size(); ++i) cases.push_back(found->at(i));
  }
  if (cases.empty()) root.fail("holds no golden cases: expected a member 'cases'");
  return cases;
}

}  // namespace

std::vector<std::string> kind_names() {
  std::vector<std::string> names;
  for (Kind const& kind : kKinds) names.emplace_back(kind.name);
  return names;
}

std::vector<KindResult> run_vectors(std::string_view text, std::string const& file_name, std::string const& only,
                                    VectorBackend backend,
                                    std::function<void(std::int64_t, std::int64_t)> const& progress) {
  auto const* const cuda = backend == VectorBackend::cuda ? &tools::cuda_dispatch_backend() : nullptr;
  auto const cases = cases_of(io::JsonDocument::parse(text, file_name).root());
  std::vector<KindResult> results;
  for (Kind const& kind : kKinds) results.push_back({std::string(kind.name)});
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (progress) progress(static_cast<std::int64_t>(i), static_cast<std::int64_t>(cases.size()));
    Kind const& kind = kind_of(cases[i]);
    if (!only.empty() && kind.name != only) continue;
    run_case(file_name, kind, cases[i], cuda, results[static_cast<std::size_t>(&kind - std::begin(kKinds))]);
  }
  std::erase_if(results, [](KindResult const& result) { return result.passed + result.failed + result.skipped == 0; });
  return results;
}

}  // namespace switchyard::vectors
