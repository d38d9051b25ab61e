// SPDX-License-Identifier: Apache-2.0
// Placements by DeepSeek's rebalance_experts, from the oracle that keeps float32. Worked example, loads 2^24 2^24 1 1 1
// 1 on two GPUs with three slots: 2^24 + 1 rounds back to 2^24 in float32, so GPU 0 stays the lowest of two equal sums
// and gets experts 0 2 3; in exact arithmetic the fourth item would go to GPU 1.
#include <algorithm>
#include <cstdint>

#include "golden/own_vectors/files.hpp"
#include "golden/own_vectors/json_text.hpp"
#include "oracle/eplb_policy_oracle.hpp"

namespace own_vectors {
namespace {

using Loads = std::vector<int>;

struct Case {
  std::string name;
  oracle::PolicySizes sizes;  ///< experts, slots, groups, nodes, GPUs
  std::vector<Loads> layers;
};

constexpr int kTwoTo24 = 1 << 24;

std::vector<Case> cases() {
  Loads const readme_0 = {90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
  Loads const readme_1 = {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};
  Loads const skewed = {5, 310, 17, 44, 2, 128, 71, 9, 33, 250, 12, 61};
  Loads const equal(12, 7);
  Loads const zero(12, 0);
  return {
      {"DeepSeek's README (reference 2.1)", {12, 16, 4, 2, 8}, {readme_0, readme_1}},
      {"hierarchical, skewed", {12, 16, 4, 2, 4}, {skewed}},
      {"hierarchical, one group per node: groups are not sorted", {12, 18, 2, 2, 6}, {skewed, equal}},
      {"hierarchical, one slot per GPU: slots are not sorted", {12, 16, 4, 2, 16}, {skewed}},
      {"hierarchical, one GPU per node", {12, 24, 4, 2, 2}, {skewed}},
      {"global, groups and nodes do not divide", {12, 16, 3, 2, 4}, {skewed, readme_0}},
      {"global, one node", {12, 20, 1, 1, 4}, {skewed}},
      {"one GPU", {12, 15, 1, 1, 1}, {skewed}},
      {"no spare slot, one slot per GPU: nothing is sorted", {8, 8, 1, 1, 8}, {{3, 1, 4, 1, 5, 9, 2, 6}}},
      {"no spare slot, two slots per GPU", {8, 8, 1, 1, 4}, {{3, 1, 4, 1, 5, 9, 2, 6}}},
      {"all loads equal", {12, 16, 4, 2, 8}, {equal}},
      {"all loads equal, global", {12, 16, 1, 1, 8}, {equal}},
      {"no load: the first expert gets all spare slots", {12, 16, 1, 1, 4}, {zero}},
      {"one expert has all the load", {4, 8, 1, 1, 4}, {{0, 0, 100, 0}}},
      {"equal ratios of different experts", {4, 8, 1, 1, 4}, {{60, 30, 20, 10}}},
      {"sums above 2^24 round", {6, 6, 1, 1, 2}, {{kTwoTo24, kTwoTo24, 1, 1, 1, 1}}},
  };
}

/// Two experts whose loads per replica are compared at some point and are equal.
bool has_ties(Loads const& loads, std::vector<std::vector<int>> const& log2phy) {
  bool tied = false;
  for (std::size_t a = 0; a < loads.size(); ++a)
    for (std::size_t b = a + 1; b < loads.size(); ++b)
      for (std::size_t of_a = 1; of_a <= log2phy[a].size(); ++of_a)
        for (std::size_t of_b = 1; of_b <= log2phy[b].size(); ++of_b)
          tied = tied || std::int64_t{loads[a]} * static_cast<std::int64_t>(of_b) ==
                             std::int64_t{loads[b]} * static_cast<std::int64_t>(of_a);
  return tied;
}

/// What all layers of a case gave.
struct Results {
  std::vector<std::vector<int>> phy2log;
  std::vector<std::vector<int>> logcnt;
  std::vector<std::string> log2phy;
  std::vector<std::string> exact_agrees;
  std::size_t max_logcnt = 0;
  int pack_sum_ties = 0;
  bool ties = false;
};

std::string padded_table(std::vector<std::vector<int>> rows, std::size_t width) {
  for (auto& row : rows) row.resize(width, -1);
  return table(rows);
}

Results results_of(Case const& made, oracle::PolicySizes const& sizes) {
  Results all;
  std::vector<oracle::PolicyResult> layers;
  for (auto const& loads : made.layers) {
    layers.push_back(oracle::eplb_float32(loads, sizes));
    auto const& layer = layers.back();
    auto const exact = oracle::eplb_exact(loads, sizes);
    all.phy2log.push_back(layer.phy2log);
    all.logcnt.emplace_back();
    for (auto const& slots : layer.log2phy) {
      all.logcnt.back().push_back(static_cast<int>(slots.size()));
      all.max_logcnt = std::max(all.max_logcnt, slots.size());
    }
    all.exact_agrees.push_back(flag(layer.phy2log == exact.phy2log && layer.log2phy == exact.log2phy));
    all.pack_sum_ties += layer.pack_sum_ties;
    all.ties = all.ties || has_ties(loads, layer.log2phy);
  }
  for (auto const& layer : layers) all.log2phy.push_back(padded_table(layer.log2phy, all.max_logcnt));
  return all;
}

std::string case_text(Case const& made) {
  oracle::PolicySizes sizes = made.sizes;
  bool const hierarchical = sizes.num_groups % sizes.num_nodes == 0;
  if (!hierarchical) sizes.num_groups = sizes.num_nodes = 1;
  Results const all = results_of(made, sizes);
  return object({{"name", text(made.name)},
                 {"num_layers", std::to_string(made.layers.size())},
                 {"num_logical", std::to_string(made.sizes.num_experts)},
                 {"num_slots", std::to_string(made.sizes.num_slots)},
                 {"num_groups", std::to_string(made.sizes.num_groups)},
                 {"num_nodes", std::to_string(made.sizes.num_nodes)},
                 {"num_gpus", std::to_string(made.sizes.num_gpus)},
                 {"hierarchical", flag(hierarchical)},
                 {"ties", flag(all.ties)},
                 {"pack_sum_ties", std::to_string(all.pack_sum_ties)},
                 {"exact_arithmetic_agrees", list(all.exact_agrees)},
                 {"weight", table(made.layers)},
                 {"phy2log", table(all.phy2log)},
                 {"logcnt", table(all.logcnt)},
                 {"max_logcnt", std::to_string(all.max_logcnt)},
                 {"log2phy", list(all.log2phy)}});
}

constexpr char kFormat[] =
    "weight[l][e]: integer loads, each exact in float32. phy2log[l][slot], logcnt[l][e], log2phy[l][e][replica] in the "
    "order in which replicas are made, -1 up to max_logcnt. Equal items keep their order, equal ratios and pack sums "
    "go "
    "to the lowest index. ties: two experts of a layer can have equal loads per replica. pack_sum_ties: decisions in "
    "which a later pack with room had the same non-zero sum in float32. exact_arithmetic_agrees[l]: fractions give the "
    "same result";

}  // namespace

std::string eplb_policy_file() {
  std::vector<std::string> texts;
  for (auto const& made : cases()) texts.push_back(case_text(made));
  return object({{"source", text("Switchyard's own oracle (tests/oracle/eplb_policy_oracle.hpp), in float32")},
                 {"format", text(kFormat)},
                 {"cases", lines(texts)}},
                ",\n") +
         "\n";
}

}  // namespace own_vectors
