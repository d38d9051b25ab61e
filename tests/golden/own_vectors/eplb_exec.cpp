// SPDX-License-Identifier: Apache-2.0
// Moves of expert weights in the format of the vectors of vLLM's rebalance_execute. Worked example: four ranks with two
// slots, 0 1 | 0 2 | 3 -1 | 4 -1 to 0 1 | 0 2 | 0 0 | 0 3: experts 0's holders are ranks 0 and 1, ranks 2 and 3 lack
// it, so each holder serves one; rank 2's second 0 is a duplicate of its first.
#include <stdexcept>

#include "golden/own_vectors/files.hpp"
#include "golden/own_vectors/json_text.hpp"
#include "oracle/rebalance_oracle.hpp"

namespace own_vectors {
namespace {

using oracle::Ints;

enum class Mode { plain, scale_up, scale_down };

struct Case {
  std::string name;
  int slots_per_rank;
  int num_experts;
  std::vector<Ints> before;  ///< [layer][slot]
  std::vector<Ints> after;
  Mode mode = Mode::plain;
  Ints mapping{};  ///< [old rank] new rank, -1 leaves
};

std::vector<Case> plain_cases() {
  return {
      {"reference 1.6, three slots",
       3,
       5,
       {{0, 1, 2, 0, 3, 3, 1, -1, 4, 4, 2, 0}},
       {{3, 1, 0, 0, 2, 4, 3, 3, 1, -1, 4, 2}}},
      {"reference 1.6, five receivers of three holders", 1, 6, {{0, 0, 0, 1, 2, 3, 4, 5}}, {{0, 0, 0, 0, 0, 0, 0, 0}}},
      {"reference 1.6, six receivers of two holders", 1, 7, {{0, 0, 1, 2, 3, 4, 5, 6}}, {{0, 0, 0, 0, 0, 0, 0, 0}}},
      {"reference 1.6, two slots", 2, 4, {{0, 1, 2, 0, 3, 3, 1, -1}}, {{0, 3, 1, 1, 2, 0, 3, 2}}},
      {"worked example", 2, 5, {{0, 1, 0, 2, 3, -1, 4, -1}}, {{0, 1, 0, 2, 0, 0, 0, 3}}},
      {"nothing moves", 2, 3, {{0, 1, 2, -1}}, {{0, 1, 2, -1}}},
      {"one rank, rows change places", 3, 3, {{0, 1, 2}}, {{2, 0, 1}}},
      {"one rank, one expert into every row", 3, 3, {{0, 1, 2}}, {{1, 1, 1}}},
      {"fewer receivers than holders", 1, 5, {{0, 0, 0, 0, 1, 2}}, {{0, 0, 0, 0, 0, 0}}},
      {"as many receivers as holders", 1, 5, {{0, 0, 1, 2}}, {{0, 0, 0, 0}}},
      {"five receivers of two holders, leftover to the first", 1, 6, {{0, 0, 1, 2, 3, 4, 5}}, {{0, 0, 0, 0, 0, 0, 0}}},
      {"leftovers of two experts", 2, 6, {{0, 1, 0, 2, 3, 1, 4, 5, 2, 3}}, {{0, 1, 0, 2, 1, 0, 0, 1, 1, 0}}},
      {"holders with two copies send the first", 2, 3, {{1, 1, 0, 0, 2, -1}}, {{1, 0, 0, 2, 1, 2}}},
      {"duplicates of several experts on one rank", 4, 4, {{0, 1, 2, 3, -1, -1, -1, -1}}, {{0, 1, 2, 3, 3, 1, 3, 1}}},
      {"an empty rank fills, a full rank empties", 2, 4, {{0, 1, 2, 3, -1, -1}}, {{-1, -1, 2, 0, 3, 1}}},
      {"all slots become empty", 2, 2, {{0, 1, 1, 0}}, {{-1, -1, -1, -1}}},
      {"three layers", 2, 4, {{0, 1, 2, 3}, {3, 2, 1, 0}, {0, 1, 2, 3}}, {{2, 3, 0, 1}, {3, 2, 1, 0}, {1, 0, 3, 3}}},
  };
}

std::vector<Case> scale_cases() {
  return {
      {"two ranks become four", 2, 4, {{0, 1, 2, 3}}, {{0, 1, 2, 3, 3, 0, 1, 1}}, Mode::scale_up, {0, 1}},
      {"two ranks become three, renumbered", 2, 3, {{0, 1, 2, 0}}, {{2, 1, 0, 2, 1, -1}}, Mode::scale_up, {2, 0}},
      {"one leaves, two join", 1, 2, {{0, 1, 0}}, {{1, 0, 1, 0}}, Mode::scale_up, {-1, 3, 1}},
      {"four ranks become two",
       2,
       4,
       {{0, 1, 2, 3, 0, 1, 2, 3}, {0, 0, 1, 1, 2, 2, 3, 3}},
       {{3, 1, 0, 2}, {0, 1, 2, 3}},
       Mode::scale_down,
       {0, 1, -1, -1}},
      {"four ranks become two, renumbered", 1, 2, {{0, 1, 1, 0}}, {{0, 1}}, Mode::scale_down, {-1, 1, -1, 0}},
      {"leaving ranks send everything", 2, 4, {{0, 1, 2, 3, -1, -1}}, {{3, 2}}, Mode::scale_down, {-1, -1, 0}},
      {"all stay and change numbers", 2, 4, {{0, 1, 2, 3}}, {{0, 1, 2, 3}}, Mode::scale_down, {1, 0}},
  };
}

std::vector<Case> invalid_cases() {
  return {
      {"nobody holds expert 3", 2, 4, {{0, 1, 2, 0}}, {{0, 1, 2, 3}}},
      {"nobody holds anything", 1, 2, {{-1, -1}}, {{0, 1}}},
      {"only the second layer lacks an expert", 1, 2, {{0, 1}, {0, 0}}, {{1, 0}, {0, 1}}},
      {"an id above the experts in both maps", 1, 2, {{0, 2}}, {{2, 0}}},
      {"an id above the experts that nobody holds", 1, 2, {{0, 1}}, {{0, 2}}},
      {"-2 is no empty slot", 1, 2, {{0, -2}}, {{-2, 0}}},
      {"the only holder leaves while others join", 1, 2, {{0, 1}}, {{0, 0, 1}}, Mode::scale_up, {0, -1}},
  };
}

struct Expanded {
  std::vector<Ints> before;
  std::vector<Ints> after;
};

/// Both maps in the space of the group that executes the move.
Expanded expand(Case const& made) {
  Expanded both{made.before, made.after};
  int const new_ranks = oracle::count(made.after.front()) / made.slots_per_rank;
  if (made.mode == Mode::scale_up)
    for (auto& layer : both.before) layer = oracle::spread_blocks(layer, made.slots_per_rank, made.mapping, new_ranks);
  if (made.mode == Mode::scale_down)
    for (auto& layer : both.after) layer = oracle::gather_blocks(layer, made.slots_per_rank, made.mapping);
  return both;
}

int ranks_of(Case const& made) {
  return oracle::count(expand(made).before.front()) / made.slots_per_rank;
}

oracle::Move move_of(Case const& made, std::size_t layer) {
  Expanded const both = expand(made);
  return {Ints(oracle::at(ranks_of(made)), made.slots_per_rank), both.before[layer], both.after[layer]};
}

/// Columns of a triple, in the order of `columns`.
std::string columns_of(std::vector<oracle::Triple> const& triples, std::vector<std::size_t> const& columns) {
  std::vector<Ints> rows;
  for (auto const& triple : triples) {
    rows.emplace_back();
    for (std::size_t const column : columns) rows.back().push_back(triple[column]);
  }
  return table(rows);
}

std::string rank_text(oracle::Move const& move, int rank) {
  auto const lists = oracle::transfers_of(move, rank);
  Ints const before = oracle::rows_of(move, move.before, rank);
  Ints const after = oracle::rows_of(move, move.after, rank);
  Ints unchanged;
  for (std::size_t row = 0; row < before.size(); ++row) unchanged.push_back(before[row] == after[row] ? 1 : 0);
  Ints local = unchanged;
  for (auto const& copy : lists.local_copies) local[oracle::at(copy[2])] = 1;
  Ints primary(before.size(), 0);
  Ints experts;
  Ints rows;
  for (auto const& [expert, row, from] : lists.receives) {
    primary[oracle::at(row)] = 1;
    experts.push_back(expert);
    rows.push_back(row);
  }
  return object({{"sends", columns_of(lists.sends, {0, 2})},
                 {"recvs", columns_of(lists.receives, {0, 2, 1})},
                 {"is_unchanged", list(unchanged)},
                 {"is_received_locally", list(local)},
                 {"recv_primary_mask", list(primary)},
                 {"recv_expert_ids", list(experts)},
                 {"recv_dst_rows", list(rows)}});
}

/// [rank][row] = [expert, old slot], from executing all ranks' lists.
std::string final_text(oracle::Move const& move) {
  auto const outcome = oracle::Executor(move.slots_per_rank, oracle::all_transfers(move)).run();
  if (!oracle::fulfils(outcome, move)) throw std::logic_error("the oracle's lists do not perform the move");
  std::vector<std::string> ranks;
  for (int rank = 0; rank < oracle::count(move.slots_per_rank); ++rank) {
    std::vector<Ints> rows;
    for (int const slot : oracle::rows_of(move, outcome.origin, rank))
      rows.push_back({move.before[oracle::at(slot)], slot});
    ranks.push_back(table(rows));
  }
  return list(ranks);
}

std::string layer_text(oracle::Move const& move) {
  std::vector<std::string> ranks;
  for (int rank = 0; rank < oracle::count(move.slots_per_rank); ++rank) ranks.push_back(rank_text(move, rank));
  return object({{"ranks", lines(ranks)}, {"final", final_text(move)}});
}

Members request_members(Case const& made) {
  bool const plain = made.mode == Mode::plain;
  return {{"name", text(made.name)},
          {"ranks", std::to_string(ranks_of(made))},
          {"num_local_experts", std::to_string(made.slots_per_rank)},
          {"num_layers", std::to_string(made.before.size())},
          {"num_logical_experts", std::to_string(made.num_experts)},
          {"old", table(made.before)},
          {"new", table(made.after)},
          {"rank_mapping", plain ? "null" : list(made.mapping)},
          {"mode", plain ? "null" : text(made.mode == Mode::scale_up ? "scale_up" : "scale_down")}};
}

std::string case_text(Case const& made) {
  Members members = request_members(made);
  if (made.mode != Mode::plain) {
    members.emplace_back("expanded_old", table(expand(made).before));
    members.emplace_back("expanded_new", table(expand(made).after));
  }
  std::vector<std::string> layers;
  for (std::size_t layer = 0; layer < made.before.size(); ++layer) layers.push_back(layer_text(move_of(made, layer)));
  members.emplace_back("layers", list(layers));
  return object(members);
}

std::string invalid_text(Case const& made) {
  bool outside = false;
  bool missing = false;
  for (std::size_t layer = 0; layer < made.before.size(); ++layer) {
    oracle::Move const move = move_of(made, layer);
    outside = outside || oracle::has_id_out_of_range(move, made.num_experts);
    missing = missing || !oracle::missing_experts(move).empty();
  }
  std::vector<std::string> reasons;
  if (outside) reasons.push_back(text("id_out_of_range"));
  if (missing) reasons.push_back(text("missing_source"));
  if (reasons.empty()) throw std::logic_error("the oracle finds nothing wrong with an invalid case");
  Members members = request_members(made);
  members.emplace_back("reasons", list(reasons));
  return object(members);
}

constexpr char kFormat[] =
    "Slots are numbered rank * num_local_experts + row in the space of the executing group; expanded_* are the maps "
    "there "
    "when rank_mapping is given (rank_mapping[old rank] = new rank, -1 leaves). layers[l].ranks[r]: sends [expert, to] "
    "and recvs [expert, from, row] in order; masks 0 or 1 per row; layers[l].final[r][row] = [expert, old slot] of the "
    "bytes that lie there in the end (expert -1: what an empty slot held). invalid_cases must be refused for exactly "
    "these reasons";

}  // namespace

std::string eplb_exec_file() {
  std::vector<std::string> cases;
  for (auto const& made : plain_cases()) cases.push_back(case_text(made));
  for (auto const& made : scale_cases()) cases.push_back(case_text(made));
  std::vector<std::string> invalid;
  for (auto const& made : invalid_cases()) invalid.push_back(invalid_text(made));
  return object({{"source", text("Switchyard's own oracle (tests/oracle/rebalance_oracle.hpp)")},
                 {"format", text(kFormat)},
                 {"cases", lines(cases)},
                 {"invalid_cases", lines(invalid)}},
                ",\n") +
         "\n";
}

}  // namespace own_vectors
