// SPDX-License-Identifier: Apache-2.0
// AlltoAll cases in the format of Megatron's vectors. The worked example of the reference (section 1.6, 2 x 2 ranks,
// four experts) is among them with its known splits, so that a reader can check one case by hand.
#include <stdexcept>

#include "golden/own_vectors/files.hpp"
#include "golden/own_vectors/json_text.hpp"
#include "oracle/megatron_oracle.hpp"

namespace own_vectors {
namespace {

struct Case {
  std::string name;
  oracle::MegatronBatch batch;
};

/// A fixed sequence of small integers.
class Draw {
 public:
  explicit Draw(unsigned seed) : state_(seed) {}
  int below(int limit) {
    state_ = (state_ * 1103515245U + 12345U) % 2147483648U;
    return static_cast<int>((state_ >> 16U) % static_cast<unsigned>(limit));
  }

 private:
  unsigned state_;
};

/// K different experts, probabilities of 1/64 to 63/64.
oracle::RoutedToken drawn_token(Draw& draw, int num_experts, int top_k) {
  oracle::RoutedToken token;
  while (static_cast<int>(token.experts.size()) < top_k) {
    int const expert = draw.below(num_experts);
    if (oracle::slot_of_choice(token, expert) < static_cast<int>(token.experts.size())) continue;
    token.experts.push_back(expert);
    token.weight64.push_back(1 + draw.below(63));
  }
  return token;
}

struct Sizes {
  int tp;
  int ep;
  int num_experts;
  int top_k;
};

Case drawn(std::string name, Sizes sizes, std::vector<int> const& tokens_of_rank, std::optional<oracle::Drop> drop) {
  Draw draw(static_cast<unsigned>(sizes.tp * 1000 + sizes.ep * 100 + sizes.num_experts * 10 + sizes.top_k));
  Case made{std::move(name), {sizes.tp, sizes.ep, sizes.num_experts, sizes.top_k, drop}};
  for (int const tokens : tokens_of_rank) {
    made.batch.tokens.emplace_back();
    for (int token = 0; token < tokens; ++token)
      made.batch.tokens.back().push_back(drawn_token(draw, sizes.num_experts, sizes.top_k));
  }
  return made;
}

/// [rank][token] the experts of every token; probabilities 1/2, 1/4, ... in slot order.
Case given(std::string name, Sizes sizes, std::vector<std::vector<std::vector<int>>> const& experts,
           std::optional<oracle::Drop> drop) {
  Case made{std::move(name), {sizes.tp, sizes.ep, sizes.num_experts, sizes.top_k, drop}};
  for (auto const& rank : experts) {
    made.batch.tokens.emplace_back();
    for (auto const& token : rank) {
      oracle::RoutedToken routed{token, {}};
      for (std::size_t k = 0; k < token.size(); ++k) routed.weight64.push_back(32 >> k);
      made.batch.tokens.back().push_back(routed);
    }
  }
  return made;
}

std::vector<Case> dropless_cases() {
  std::optional<oracle::Drop> const none;
  return {
      drawn("one rank, one expert", {1, 1, 1, 1}, {3}, none),
      drawn("one rank, four experts", {1, 1, 4, 2}, {4}, none),
      drawn("one rank, no token", {1, 1, 4, 2}, {0}, none),
      drawn("1x2, one local expert, one rank without tokens", {1, 2, 2, 1}, {3, 0}, none),
      drawn("1x2, two local experts, ragged", {1, 2, 4, 2}, {2, 4}, none),
      drawn("2x1, one local expert", {2, 1, 1, 1}, {2, 3}, none),
      drawn("2x1, three local experts, ragged", {2, 1, 3, 2}, {4, 1}, none),
      drawn("2x2, one local expert, ragged", {2, 2, 2, 1}, {1, 0, 3, 2}, none),
      drawn("2x2, one local expert, both experts", {2, 2, 2, 2}, {2, 1, 0, 3}, none),
      given("2x2, worked example of the dispatch reference", {2, 2, 4, 2},
            {{{0, 2}, {2, 3}}, {{0, 3}, {0, 1}}, {{0, 2}, {0, 1}}, {{0, 1}, {0, 3}}}, none),
      drawn("2x2, three local experts, ragged: rows come back to other tokens", {2, 2, 6, 2}, {3, 1, 2, 4}, none),
      given("2x2, every token to the last expert", {2, 2, 4, 1}, {{{3}}, {{3}, {3}}, {{3}}, {}}, none),
      drawn("2x2, no token anywhere", {2, 2, 4, 2}, {0, 0, 0, 0}, none),
  };
}

std::vector<Case> dropping_cases() {
  using oracle::Drop;
  std::vector<std::vector<int>> const ties = {{0, 1}, {1, 0}, {0, 1}, {0, 2}, {0, 3}, {3, 0}};
  // Division first, then the factor, in double: 10 / 3 * 2.1 is a little more than 7, so 8 of expert 0's 9 stay.
  return {
      given("drop by probability, equal probabilities", {1, 1, 4, 2}, {ties}, Drop{10, false, false}),
      given("drop by position, the same routing", {1, 1, 4, 2}, {ties}, Drop{10, false, true}),
      given("pad by probability, the same routing", {1, 1, 4, 2}, {ties}, Drop{10, true, false}),
      given("pad by position, the same routing", {1, 1, 4, 2}, {ties}, Drop{10, true, true}),
      drawn("1x2, drop by position, ragged", {1, 2, 4, 2}, {6, 3}, Drop{5, false, true}),
      drawn("1x2, drop by probability, one rank without tokens", {1, 2, 2, 1}, {5, 0}, Drop{10, false, false}),
      drawn("1x2, capacity above the tokens keeps all", {1, 2, 4, 2}, {3, 2}, Drop{30, false, false}),
      drawn("2x1, pad, two local experts", {2, 1, 2, 1}, {4, 4}, Drop{10, true, false}),
      drawn("2x2, pad, one local expert", {2, 2, 2, 1}, {4, 4, 4, 4}, Drop{10, true, false}),
      drawn("2x2, pad, two local experts", {2, 2, 4, 2}, {4, 4, 4, 4}, Drop{15, true, false}),
      drawn("2x2, drop by probability, two local experts", {2, 2, 4, 2}, {4, 2, 0, 3}, Drop{10, false, false}),
      given("ceiling after rounding, 10 / 3 * 2.1 gives 8", {1, 1, 3, 1},
            {{{0}, {0}, {0}, {1}, {0}, {0}, {0}, {0}, {0}, {0}}}, Drop{21, false, true}),
  };
}

std::string numbers64(std::vector<int> const& values) {
  std::vector<std::string> pieces;
  for (int const value : values) pieces.push_back(sixty_fourths(value));
  return list(pieces);
}

std::string optional_list(std::optional<std::vector<int>> const& values) {
  return values ? list(*values) : "null";
}

/// Every combined value must be exact in float32, or the vectors would demand an order of additions.
std::string combined_text(std::vector<std::array<int, 3>> const& combined64) {
  std::vector<std::string> rows;
  for (auto const& row : combined64) {
    for (int const value : row)
      if (value >= 1 << 24) throw std::out_of_range("a combined value is not exact in float32");
    rows.push_back(numbers64(std::vector<int>(row.begin(), row.end())));
  }
  return list(rows);
}

std::string dispatched_text(std::vector<oracle::Row> const& rows) {
  std::vector<std::vector<int>> sources;
  for (auto const& row : rows) sources.push_back({row.source, row.token});
  return table(sources);
}

Members input_members(std::vector<oracle::RoutedToken> const& tokens) {
  std::vector<std::vector<int>> ids;
  std::vector<std::string> probs;
  for (auto const& token : tokens) {
    ids.push_back(token.experts);
    probs.push_back(numbers64(token.weight64));
  }
  return {{"num_tokens", std::to_string(tokens.size())}, {"topk_ids", table(ids)}, {"topk_probs", list(probs)}};
}

std::string rank_text(Case const& made, oracle::MegatronOracle const& megatron, int rank) {
  auto const fields = megatron.fields(rank);
  Members members = input_members(made.batch.tokens.at(static_cast<std::size_t>(rank)));
  if (made.batch.drop) {
    members.emplace_back("capacity", std::to_string(fields.capacity));
    members.emplace_back("kept_map", table(fields.kept));
  }
  Members const results = {
      {"tokens_per_local_expert", list(fields.tokens_per_local_expert)},
      {"dispatched", dispatched_text(fields.dispatched)},
      {"input_splits", optional_list(fields.input_splits)},
      {"output_splits", optional_list(fields.output_splits)},
      {"output_splits_tp", optional_list(fields.output_splits_tp)},
      {"num_out_tokens", std::to_string(fields.permutation.size())},
      {"sort_input_by_local_experts", list(fields.sort_order)},
      {"restore_output_by_local_experts", list(fields.restore_order)},
      {"num_global_tokens_per_local_expert", fields.rows_per_chunk.empty() ? "null" : list(fields.rows_per_chunk)},
      {"cuda_sync_point", text(fields.sync_point)},
      {"permutation", list(fields.permutation)},
      {"combined", combined_text(fields.combined64)}};
  members.insert(members.end(), results.begin(), results.end());
  return object(members);
}

std::string case_text(Case const& made) {
  auto const& batch = made.batch;
  oracle::MegatronOracle const megatron(batch);
  std::vector<std::string> ranks;
  for (int rank = 0; rank < batch.tp * batch.ep; ++rank) ranks.push_back(rank_text(made, megatron, rank));
  auto const drop = batch.drop.value_or(oracle::Drop{});
  std::string const factor = std::to_string(drop.factor_tenths / 10) + "." + std::to_string(drop.factor_tenths % 10);
  return object({{"name", text(made.name)},
                 {"dispatcher", text("alltoall")},
                 {"tp", std::to_string(batch.tp)},
                 {"ep", std::to_string(batch.ep)},
                 {"num_experts", std::to_string(batch.num_experts)},
                 {"topk", std::to_string(batch.top_k)},
                 {"capacity_factor", batch.drop ? factor : "null"},
                 {"pad_to_capacity", flag(drop.pad)},
                 {"drop_policy", batch.drop ? text(drop.by_position ? "position" : "probs") : "null"},
                 {"ranks", lines(ranks)}});
}

constexpr char kFormat[] =
    "World = tp * ep, rank = ep_rank * tp + tp_rank. Inputs: topk_ids and topk_probs [token][k]. kept_map [token]: "
    "experts after dropping, fillers included. dispatched: rows as the experts see them, [source rank, source token]. "
    "num_global_tokens_per_local_expert: flat, (source tp, source ep, local expert), null with one local expert. "
    "combined [token][3]: a payload row is [rank + 1, token + 1, 1], expert e multiplies by e + 1, every TP rank "
    "contributes the full product, probabilities (64ths) are applied at the end; the rows return as in Megatron-Core "
    "of "
    "spring 2025, whose chunk sizes of the way back are transposed";

}  // namespace

std::string alltoall_file() {
  std::vector<std::string> cases;
  for (auto const& made : dropless_cases()) cases.push_back(case_text(made));
  for (auto const& made : dropping_cases()) cases.push_back(case_text(made));
  return object({{"source", text("Switchyard's own oracles (tests/oracle/dispatch_oracle.hpp, megatron_oracle.hpp)")},
                 {"format", text(kFormat)},
                 {"cases", lines(cases)}},
                ",\n") +
         "\n";
}

}  // namespace own_vectors
