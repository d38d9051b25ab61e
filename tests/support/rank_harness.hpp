// SPDX-License-Identifier: Apache-2.0
/// RankHarness: a way to run a group of ranks, so that one test body runs on threads, fibers and other backends.
#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <string>
#include <vector>

#include "switchyard/comm/communicator.hpp"

namespace switchyard::test {

/// How one rank ended.
struct RankEnd {
  bool failed = false;
  ErrorCode code = ErrorCode::internal;
  std::string text{};
};

class RankHarness {
 public:
  virtual ~RankHarness() = default;
  [[nodiscard]] virtual std::string name() const = 0;
  /// Runs `body` once per rank; a rank that throws must abort its group.
  virtual std::vector<RankEnd> run(int num_ranks, CheckLevel check, std::function<void(Communicator&)> const& body) = 0;
  /// For rank bodies that need more than the communicator: changes shared test state, and waits for it to change.
  virtual void update(std::function<void()> const& change) = 0;
  virtual void wait_for(std::function<bool()> const& condition) = 0;
  /// How long a call may wait before a rank counts as missing: nothing in real time, anything in virtual time.
  [[nodiscard]] virtual Duration short_deadline() const = 0;
  [[nodiscard]] virtual bool virtual_time() const = 0;
  /// Whether groups of this size start fast enough for every combination of a mistake; else one per rank does.
  [[nodiscard]] virtual bool every_case(int /*num_ranks*/) const { return true; }
};

/// Every rank ended well; the first text otherwise.
inline void require_all_ended_well(std::vector<RankEnd> const& ends) {
  for (std::size_t r = 0; r < ends.size(); ++r) {
    INFO("rank ", r);
    REQUIRE_MESSAGE(!ends[r].failed, ends[r].text);
  }
}

/// Every rank but `except` (-1 = none) failed with this code and one common text, which is returned.
inline std::string require_same_error(std::vector<RankEnd> const& ends, ErrorCode code, int except = -1) {
  std::string text;
  for (std::size_t r = 0; r < ends.size(); ++r) {
    if (static_cast<int>(r) == except) continue;
    INFO("rank ", r, ": ", ends[r].text);
    REQUIRE(ends[r].failed);
    REQUIRE(to_string(ends[r].code) == to_string(code));
    if (text.empty()) text = ends[r].text;
    REQUIRE(ends[r].text == text);
  }
  return text;
}

inline void require_contains(std::string const& text, std::string const& part) {
  INFO("looking for '", part, "' in: ", text);
  REQUIRE(text.find(part) != std::string::npos);
}

}  // namespace switchyard::test
