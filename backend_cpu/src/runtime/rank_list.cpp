// SPDX-License-Identifier: Apache-2.0
#include "rank_list.hpp"

#include <fmt/format.h>

namespace switchyard::cpu {
namespace {

/// @return the end of the run of consecutive ranks that starts at `begin`.
std::size_t end_of_run(std::vector<RankId> const& ranks, std::size_t begin) {
  std::size_t end = begin + 1;
  while (end < ranks.size() && ranks[end].value() == ranks[end - 1].value() + 1) ++end;
  return end;
}

}  // namespace

std::string list_ranks(std::vector<RankId> const& ranks) {
  constexpr int kMaxRuns = 8;
  if (ranks.empty()) return "no rank";
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  int runs = 0;
  for (std::size_t begin = 0; begin < ranks.size(); ++runs) {
    std::size_t const end = end_of_run(ranks, begin);
    if (runs == kMaxRuns) return text + fmt::format(" and {} more", ranks.size() - begin);
    if (runs > 0) text += ", ";
    text += fmt::format("{}", ranks[begin].value());
    if (end - begin > 1) text += fmt::format("-{}", ranks[end - 1].value());
    begin = end;
  }
  return text;
}

}  // namespace switchyard::cpu
