// SPDX-License-Identifier: Apache-2.0
/// What Megatron-Core's AlltoAll dispatcher reports about a batch and gives back, by looking at the tuples that
/// DispatchOracle moved; probabilities and values are integers in 64ths. Written from the reference text (sections 1.2
/// and 1.4); shares no code with the library.
///
/// Worked example: one rank, experts 0 1, factor 1.0, two tokens that both chose expert 0 (K = 1) with 32/64 and 48/64:
/// the capacity is (2 / 2) * 1.0 = 1, policy "probs" keeps token 1, "position" token 0. With padding expert 1 gets the
/// filler token 0. Token 1's row is (1, 2, 1) times 48/64.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "oracle/dispatch_oracle.hpp"

namespace oracle {

struct Drop {
  int factor_tenths = 10;
  bool pad = false;
  bool by_position = false;
};

/// A token's K choices.
struct RoutedToken {
  std::vector<int> experts;
  std::vector<int> weight64;
};

struct MegatronBatch {
  int tp = 1;
  int ep = 1;
  int num_experts = 1;
  int top_k = 1;
  std::optional<Drop> drop{};
  std::vector<std::vector<RoutedToken>> tokens{};  ///< [rank][token], rank = ep_rank * tp + tp_rank
};

/// Division, multiplication, ceiling, each in double.
inline int capacity_of(int choices, int num_experts, int factor_tenths) {
  double const factor = static_cast<double>(factor_tenths) / 10.0;
  double const per_expert = static_cast<double>(choices) / static_cast<double>(num_experts);
  return static_cast<int>(std::ceil(per_expert * factor));
}

/// The slot in which a token chose an expert, K if it did not.
inline int slot_of_choice(RoutedToken const& token, int expert) {
  return static_cast<int>(std::find(token.experts.begin(), token.experts.end(), expert) - token.experts.begin());
}

/// A token's probability for an expert, 0 for one that it did not choose.
inline int weight_for(RoutedToken const& token, int expert) {
  auto const slot = static_cast<std::size_t>(slot_of_choice(token, expert));
  return slot < token.weight64.size() ? token.weight64[slot] : 0;
}

/// Tokens that an expert's column keeps: highest value first, ties by ascending token.
inline std::vector<int> kept_tokens(std::vector<RoutedToken> const& tokens, int expert, int capacity, bool position) {
  auto const value = [&](int index) {
    RoutedToken const& token = tokens[static_cast<std::size_t>(index)];
    bool const chosen = slot_of_choice(token, expert) < static_cast<int>(token.experts.size());
    return position ? static_cast<int>(chosen) : weight_for(token, expert);
  };
  std::vector<int> order;
  for (int token = 0; token < static_cast<int>(tokens.size()); ++token) order.push_back(token);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return value(a) > value(b); });
  if (capacity < static_cast<int>(order.size())) order.resize(static_cast<std::size_t>(capacity));
  return order;
}

/// [token] experts that stay, ascending; with padding the fillers are among them.
inline std::vector<std::vector<int>> kept_map(MegatronBatch const& batch, int rank, int capacity) {
  auto const& tokens = batch.tokens.at(static_cast<std::size_t>(rank));
  std::vector<std::vector<int>> kept(tokens.size());
  for (int expert = 0; expert < batch.num_experts; ++expert)
    for (int const index : kept_tokens(tokens, expert, capacity, batch.drop->by_position)) {
      auto const token = static_cast<std::size_t>(index);
      bool const chosen = slot_of_choice(tokens[token], expert) < batch.top_k;
      if (chosen || batch.drop->pad) kept[token].push_back(expert);
    }
  return kept;
}

/// One rank's fields, named as in Megatron; empty where Megatron leaves them unset.
struct MegatronFields {
  int capacity = 0;
  std::vector<std::vector<int>> kept{};
  std::vector<int> tokens_per_local_expert{};
  std::vector<Row> dispatched{};
  std::optional<std::vector<int>> input_splits{};
  std::optional<std::vector<int>> output_splits{};
  std::optional<std::vector<int>> output_splits_tp{};
  std::vector<int> permutation{};
  std::vector<int> sort_order{};
  std::vector<int> restore_order{};
  std::vector<int> rows_per_chunk{};  ///< [source tp, source ep, local expert], empty with one local expert
  char const* sync_point = "";
  std::vector<std::array<int, 3>> combined64{};
};

class MegatronOracle {
 public:
  explicit MegatronOracle(MegatronBatch const& batch)
      : in_(batch), local_(batch.num_experts / batch.ep), lists_(DispatchOracle(routed()).ranks()) {}

  MegatronFields fields(int rank) const {
    MegatronFields out;
    auto const& lists = at(lists_, rank);
    fill_drop(rank, out);
    for (int local = 0; local < local_; ++local) {
      int const slot = ep_of(rank) * local_ + local;
      out.tokens_per_local_expert.push_back(count(lists.sorted, [&](Row const& row) { return row.slot == slot; }));
    }
    out.dispatched = lists.sorted;
    for (Row const& row : lists.sent) out.permutation.push_back(row.token);
    fill_splits(rank, out);
    fill_chunks(rank, out);
    out.sync_point = sync_point();
    out.combined64 = combined(rank);
    return out;
  }

 private:
  template <typename T>
  static T const& at(std::vector<T> const& list, int index) {
    return list.at(static_cast<std::size_t>(index));
  }
  template <typename Predicate>
  static int count(std::vector<Row> const& rows, Predicate const& matches) {
    return static_cast<int>(std::count_if(rows.begin(), rows.end(), matches));
  }
  int world() const { return in_.tp * in_.ep; }
  int ep_of(int rank) const { return rank / in_.tp; }
  int tp_of(int rank) const { return rank % in_.tp; }
  bool padded() const { return in_.drop && in_.drop->pad; }
  int capacity(int rank) const {
    int const choices = static_cast<int>(at(in_.tokens, rank).size()) * in_.top_k;
    return capacity_of(choices, in_.num_experts, in_.drop->factor_tenths);
  }

  std::vector<Choice> choices_of(int rank, int token) const {
    RoutedToken const& routed = at(at(in_.tokens, rank), token);
    std::vector<int> experts = routed.experts;
    if (in_.drop) experts = at(kept_map(in_, rank, capacity(rank)), token);
    std::vector<Choice> choices;
    for (int const expert : experts) choices.push_back({expert, slot_of_choice(routed, expert)});
    return choices;
  }

  DispatchCase routed() const {
    DispatchCase input;
    input.tp = in_.tp;
    input.ep = in_.ep;
    for (int ep = 0; ep < in_.ep; ++ep) {
      input.experts_of_ep.emplace_back();
      for (int local = 0; local < local_; ++local) input.experts_of_ep.back().push_back(ep * local_ + local);
    }
    for (int rank = 0; rank < world(); ++rank) {
      int const tokens = static_cast<int>(at(in_.tokens, rank).size());
      if (padded() && capacity(rank) > tokens) throw std::invalid_argument("padding beyond the tokens is undefined");
      input.routing.emplace_back();
      for (int token = 0; token < tokens; ++token) input.routing.back().push_back(choices_of(rank, token));
    }
    return input;
  }

  void fill_drop(int rank, MegatronFields& out) const {
    if (!in_.drop) return;
    out.capacity = capacity(rank);
    out.kept = kept_map(in_, rank, out.capacity);
  }

  void fill_splits(int rank, MegatronFields& out) const {
    if (padded() || world() == 1) return;
    auto const& lists = at(lists_, rank);
    std::vector<int> to_ep;
    std::vector<int> from_ep;
    std::vector<int> from_tp;
    for (int ep = 0; ep < in_.ep; ++ep) {
      to_ep.push_back(count(lists.sent, [&](Row const& row) { return row.slot / local_ == ep; }));
      from_ep.push_back(count(lists.received, [&](Row const& row) { return ep_of(row.source) == ep; }));
    }
    for (int tp = 0; tp < in_.tp; ++tp)
      from_tp.push_back(count(lists.gathered, [&](Row const& row) { return tp_of(row.source) == tp; }));
    out.input_splits = to_ep;
    out.output_splits = from_ep;
    out.output_splits_tp = from_tp;
  }

  int chunk_rows(int rank, int tp, int ep, int local) const {
    int const slot = ep_of(rank) * local_ + local;
    return count(at(lists_, rank).gathered,
                 [&](Row const& row) { return row.slot == slot && row.source == ep * in_.tp + tp; });
  }

  /// Chunks are numbered in the order of arrival: source tp, source ep, local expert.
  void fill_chunks(int rank, MegatronFields& out) const {
    for (int local = 0; local < local_; ++local)
      for (int source = 0; source < world(); ++source) out.sort_order.push_back(source * local_ + local);
    out.restore_order.resize(out.sort_order.size());
    for (std::size_t place = 0; place < out.sort_order.size(); ++place)
      out.restore_order[static_cast<std::size_t>(out.sort_order[place])] = static_cast<int>(place);
    if (local_ == 1) return;
    for (int tp = 0; tp < in_.tp; ++tp)
      for (int ep = 0; ep < in_.ep; ++ep)
        for (int local = 0; local < local_; ++local) out.rows_per_chunk.push_back(chunk_rows(rank, tp, ep, local));
  }

  /// The seed's rule.
  char const* sync_point() const {
    if (in_.drop) return in_.drop->pad ? "no_sync" : "before_permutation_1";
    return in_.ep > 1 || local_ > 1 ? "before_ep_alltoall" : "before_finish";
  }

  /// The expert rows in the order in which the seed puts them back for the way home. It cuts them by the transposed
  /// table, (local expert, source ep, source tp), though they lie in (local expert, source tp, source ep) order, and
  /// takes them for correct chunks: with TP, EP and L above 1 and unequal counts rows go to other tokens. That is what
  /// the recorded format holds. Padding swaps two axes of equal blocks instead, which is exact.
  std::vector<Row> restored(int rank) const {
    auto const& lists = at(lists_, rank);
    if (padded() || local_ == 1) return lists.gathered;
    std::vector<std::vector<Row>> chunks;
    auto next = lists.sorted.begin();
    for (int local = 0; local < local_; ++local)
      for (int ep = 0; ep < in_.ep; ++ep)
        for (int tp = 0; tp < in_.tp; ++tp) {
          auto const end = next + chunk_rows(rank, tp, ep, local);
          chunks.emplace_back(next, end);
          next = end;
        }
    std::vector<Row> rows;
    for (int source = 0; source < world(); ++source)
      for (int local = 0; local < local_; ++local) {
        auto const& chunk = at(chunks, local * world() + source);
        rows.insert(rows.end(), chunk.begin(), chunk.end());
      }
    return rows;
  }

  /// What comes back for a row that was sent: the sum over the TP ranks of its expert, each with the full product.
  std::array<int, 3> returned(Row const& sent) const {
    std::array<int, 3> sum{};
    for (int tp = 0; tp < in_.tp; ++tp) {
      int const rank = sent.slot / local_ * in_.tp + tp;
      auto const& gathered = at(lists_, rank).gathered;
      auto const place = std::find(gathered.begin(), gathered.end(), sent) - gathered.begin();
      Row const row = restored(rank).at(static_cast<std::size_t>(place));
      int const factor = row.slot + 1;
      sum = {sum[0] + (row.source + 1) * factor, sum[1] + (row.token + 1) * factor, sum[2] + factor};
    }
    return sum;
  }

  std::vector<std::array<int, 3>> combined(int rank) const {
    auto const& tokens = at(in_.tokens, rank);
    std::vector<std::array<int, 3>> out(tokens.size(), std::array<int, 3>{});
    for (Row const& sent : at(lists_, rank).sent) {
      int const weight = weight_for(at(tokens, sent.token), sent.slot);
      auto const row = returned(sent);
      auto& sum = out[static_cast<std::size_t>(sent.token)];
      for (std::size_t column = 0; column < sum.size(); ++column) sum[column] += weight * row[column];
    }
    return out;
  }

  MegatronBatch in_;
  int local_;
  std::vector<RankLists> lists_;
};

}  // namespace oracle
