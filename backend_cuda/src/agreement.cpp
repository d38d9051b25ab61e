// SPDX-License-Identifier: Apache-2.0
#include "agreement.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::cuda {
namespace {

constexpr std::size_t kTextBytes = 501;

/// A problem as it travels; code -1: none.
struct Notice {
  std::int32_t code = -1;
  char text[kTextBytes] = {};
};

}  // namespace

std::string GroupProblem::sentence() const {
  return "rank " + std::to_string(rank.value()) + ": " + text;
}

std::optional<GroupProblem> agree(Communicator& comm, std::string_view operation,
                                  std::optional<GroupProblem> const& mine) {
  Notice said;
  if (mine) {
    said.code = static_cast<std::int32_t>(mine->code);
    mine->text.copy(said.text, kTextBytes - 1);
  }
  std::vector<Notice> heard(to_size(comm.size()));
  std::vector<std::int64_t> const sizes(heard.size(), std::int64_t{sizeof(Notice)});
  CallOptions options;
  options.operation = operation;
  comm.all_gather_v(std::as_bytes(std::span(&said, 1)), std::as_writable_bytes(std::span(heard)), sizes, options);
  auto const timeout = static_cast<std::int32_t>(ErrorCode::timeout);
  auto first = std::find_if(heard.begin(), heard.end(),
                            [&](Notice const& notice) { return notice.code >= 0 && notice.code != timeout; });
  if (first == heard.end())
    first = std::find_if(heard.begin(), heard.end(), [&](Notice const& notice) { return notice.code == timeout; });
  if (first == heard.end()) return std::nullopt;
  return GroupProblem{RankId(static_cast<int>(first - heard.begin())), static_cast<ErrorCode>(first->code),
                      std::string(first->text, ::strnlen(first->text, kTextBytes))};
}

}  // namespace switchyard::cuda
