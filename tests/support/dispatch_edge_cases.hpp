// SPDX-License-Identifier: Apache-2.0
/// The edge cases of a dispatch: routings and placements at the limits of what is defined (docs/edge-cases.md), for
/// the tests of every executor.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "support/dispatch_run.hpp"

namespace support {

/// The choices of one rank's tokens.
using Tokens = std::vector<std::vector<oracle::Choice>>;

struct EdgeCase {
  std::string name;
  RunCase run;
};

/// @param experts_of_ep per EP rank @param routing per rank of the world
inline RunCase edge_run(int tp, std::vector<std::vector<int>> experts_of_ep, int top_k, std::vector<Tokens> routing) {
  RunCase run;
  run.seed = 77;
  run.hidden = 3;
  run.top_k = top_k;
  for (auto const& experts : experts_of_ep) run.num_experts += static_cast<int>(experts.size());
  run.input = {tp, static_cast<int>(experts_of_ep.size()), 0, true, std::move(experts_of_ep), std::move(routing)};
  return run;
}

inline std::vector<EdgeCase> edge_cases() {
  Tokens const none;
  Tokens const two{{{0, 0}, {3, 1}}, {{2, 0}, {1, 1}}};
  Tokens const to_last{{{3, 0}, {2, 1}}, {{2, 0}, {3, 1}}, {{3, 0}, {2, 1}}};
  std::vector<std::vector<int>> const halves{{0, 1}, {2, 3}};
  return {{"no tokens on one rank", edge_run(1, halves, 2, {none, two})},
          {"no tokens on any rank", edge_run(2, halves, 2, {none, none, none, none})},
          {"ragged tokens", edge_run(2, halves, 2, {two, none, to_last, Tokens{{{1, 0}}}})},
          {"an expert without tokens", edge_run(1, halves, 2, {to_last, to_last})},
          {"all tokens to one rank", edge_run(2, halves, 2, {to_last, to_last, to_last, to_last})},
          {"a rank that receives nothing", edge_run(1, {{0, 1}, {2, 3}, {4}}, 2, {two, two, to_last})},
          {"a rank without experts", edge_run(1, {{0, 1, 2, 3}, {}}, 2, {two, to_last})},
          {"one rank", edge_run(1, {{0, 1, 2, 3}}, 2, {two})},
          {"one local expert", edge_run(2, {{0}, {1}, {2}, {3}}, 2, {two, two, none, none, to_last, none, two, two})},
          {"EP 1, TP 3", edge_run(3, {{0, 1, 2, 3}}, 2, {two, to_last, none})},
          {"experts not divisible by EP", edge_run(2, {{0, 1, 2}, {3, 4}}, 2, {two, two, to_last, none})},
          {"one expert chosen twice", edge_run(1, halves, 2, {Tokens{{{1, 0}, {1, 1}}}, Tokens{{{2, 0}, {2, 1}}}})},
          {"dropped choices", edge_run(1, halves, 2, {Tokens{{}, {{2, 1}}}, Tokens{{{0, 0}}}})},
          {"fewer than K experts", edge_run(1, halves, 3, {Tokens{{{2, 1}}}, Tokens{{{0, 2}, {3, 0}}}})},
          {"more slots than experts", edge_run(1, {{0}, {1}}, 3, {Tokens{{{0, 0}, {1, 1}, {0, 2}}}, none})}};
}

}  // namespace support
