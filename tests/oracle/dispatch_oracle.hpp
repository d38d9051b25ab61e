// SPDX-License-Identifier: Apache-2.0
/// Megatron's AlltoAll dispatch as lists of tuples that are moved from rank to rank: no counts, splits, offsets or
/// index tables. Written from the reference text (sections 1.1, 1.4, 1.6); shares no code with the library.
///
/// Worked example: two EP ranks, TP 1, experts 0 | 1, one token each that chose both experts. Rank 0's list is
/// (expert 0, r0 t0), (expert 1, r0 t0); rank 0 keeps the first and gets (expert 0, r1 t0) from rank 1.
#pragma once

#include <algorithm>
#include <tuple>
#include <utility>
#include <vector>

namespace oracle {

/// One copy of one token on its way to one expert.
struct Row {
  int slot;    ///< physical slot it goes to
  int source;  ///< rank it comes from
  int token;
  int k;
  bool operator==(Row const& other) const {
    return std::tie(slot, source, token, k) == std::tie(other.slot, other.source, other.token, other.k);
  }
};

struct Choice {
  int expert;
  int k;
};

struct DispatchCase {
  int tp = 1;
  int ep = 1;
  int layer = 0;
  bool rank_major = false;
  std::vector<std::vector<int>> experts_of_ep;            ///< [ep][local] logical expert, -1 = empty slot
  std::vector<std::vector<std::vector<Choice>>> routing;  ///< [rank][token] choices, k ascending
};

/// The rows of one rank after every stage.
struct RankLists {
  std::vector<Row> sent;      ///< after permute
  std::vector<Row> received;  ///< after the exchange over EP
  std::vector<Row> gathered;  ///< after the gather over TP
  std::vector<Row> sorted;    ///< what the experts see
};

class DispatchOracle {
 public:
  explicit DispatchOracle(DispatchCase const& input) : in_(input), ranks_(input.routing.size()) {
    permute();
    exchange();
    gather();
    sort();
  }
  std::vector<RankLists> const& ranks() const { return ranks_; }

  /// First physical slot of an EP rank.
  int first_slot(int ep) const {
    int first = 0;
    for (int before = 0; before < ep; ++before) first += static_cast<int>(at(in_.experts_of_ep, before).size());
    return first;
  }
  int slots_of(int ep) const { return static_cast<int>(at(in_.experts_of_ep, ep).size()); }
  bool owns(int ep, int slot) const { return slot >= first_slot(ep) && slot < first_slot(ep) + slots_of(ep); }

 private:
  template <typename T>
  static T const& at(std::vector<T> const& list, int index) {
    return list.at(static_cast<std::size_t>(index));
  }
  RankLists& lists(int ep, int tp) { return ranks_.at(static_cast<std::size_t>(ep * in_.tp + tp)); }

  /// The replicas of an expert by ascending slot; (token + source + layer) mod their number decides.
  int slot_for(int expert, int token, int source) const {
    std::vector<int> replicas;
    int slot = 0;
    for (auto const& experts : in_.experts_of_ep)
      for (int held : experts) {
        if (held == expert) replicas.push_back(slot);
        ++slot;
      }
    return at(replicas, (token + source + in_.layer) % static_cast<int>(replicas.size()));
  }

  void permute() {
    for (int source = 0; source < static_cast<int>(ranks_.size()); ++source) {
      auto& sent = ranks_[static_cast<std::size_t>(source)].sent;
      auto const& tokens = at(in_.routing, source);
      for (int token = 0; token < static_cast<int>(tokens.size()); ++token)
        for (Choice const& choice : at(tokens, token))
          sent.push_back({slot_for(choice.expert, token, source), source, token, choice.k});
      std::sort(sent.begin(), sent.end(), [](Row const& a, Row const& b) {
        return std::tie(a.slot, a.token, a.k) < std::tie(b.slot, b.token, b.k);
      });
    }
  }

  void exchange() {
    for (int ep = 0; ep < in_.ep; ++ep)
      for (int tp = 0; tp < in_.tp; ++tp)
        for (int from = 0; from < in_.ep; ++from)
          for (Row const& row : lists(from, tp).sent)
            if (owns(ep, row.slot)) lists(ep, tp).received.push_back(row);
  }

  void gather() {
    for (int ep = 0; ep < in_.ep; ++ep)
      for (int tp = 0; tp < in_.tp; ++tp)
        for (int from = 0; from < in_.tp; ++from)
          for (Row const& row : lists(ep, from).received) lists(ep, tp).gathered.push_back(row);
  }

  void sort() {
    for (auto& rank : ranks_) {
      rank.sorted = rank.gathered;
      bool const by_rank = in_.rank_major;
      std::stable_sort(rank.sorted.begin(), rank.sorted.end(), [&](Row const& a, Row const& b) {
        return by_rank ? std::tie(a.slot, a.source) < std::tie(b.slot, b.source) : a.slot < b.slot;
      });
    }
  }

  DispatchCase in_;
  std::vector<RankLists> ranks_;
};

/// The combined value of one element: fp32, slots k ascending, product rounded, then added, `round` at the end.
/// @param terms (weight, expert value) of the token's choices, k ascending.
template <typename Round>
auto combine_in_slot_order(std::vector<std::pair<float, float>> const& terms, Round const& round) {
  float volatile sum = 0.0F;
  for (auto const& [weight, value] : terms) {
    float const volatile product = weight * value;
    sum = sum + product;
  }
  return round(sum);
}

}  // namespace oracle
