// SPDX-License-Identifier: Apache-2.0
/// Oracle of DeepSeek's rebalance_experts in plain loops, once in float32 and once in exact fractions. Written from the
/// description of eplb.py; no code of the library.
///
/// Worked example, global mode, loads 6 2 1, four slots, two ranks: expert 0 gets the spare slot (6/1 is the largest),
/// the slots 0 1 2 0 weigh 3 2 1 3 and are packed in the order 3 (slot 0), 3 (slot 3), 2, 1 to ranks 0, 1, 0, 1: rank 0
/// holds 0 1, rank 1 holds 0 2.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <vector>

namespace oracle {

__extension__ typedef __int128 Wide;

/// A non-negative fraction.
struct Fraction {
  Wide numerator = 0;
  Wide denominator = 1;
};

inline Fraction operator+(Fraction a, Fraction b) {
  Wide const numerator = a.numerator * b.denominator + b.numerator * a.denominator;
  Wide const denominator = a.denominator * b.denominator;
  Wide x = numerator;
  Wide y = denominator;
  while (y != 0) {
    Wide const rest = x % y;
    x = y;
    y = rest;
  }
  return {numerator / x, denominator / x};
}
inline Fraction divide(Fraction a, int b) {
  return {a.numerator, a.denominator * b};
}
inline bool operator<(Fraction a, Fraction b) {
  return a.numerator * b.denominator < b.numerator * a.denominator;
}
inline double approximate(Fraction a) {
  return static_cast<double>(a.numerator) / static_cast<double>(a.denominator);
}
inline float divide(float a, int b) {
  return a / static_cast<float>(b);
}
inline double approximate(float a) {
  return static_cast<double>(a);
}

/// Sizes of one layer's problem, named as in the original.
struct PolicySizes {
  int num_experts;
  int num_slots;
  int num_groups;
  int num_nodes;
  int num_gpus;
};

struct PolicyResult {
  std::vector<int> phy2log{};
  std::vector<std::vector<int>> log2phy{};
  /// No decision hung on a difference that float32 rounding could turn round: the exact and the float32 result must
  /// agree.
  bool clear = true;
  /// Decisions of the packing in which a later pack with room had the same sum, not zero, as the chosen one.
  int pack_sum_ties = 0;
};

template <typename Number>
class EplbPolicy {
 public:
  EplbPolicy(std::vector<Number> weights, PolicySizes sizes) : weights_(std::move(weights)), sizes_(sizes) {}

  PolicyResult run() {
    int const experts = sizes_.num_experts;
    std::vector<int> const expert_at = node_order();
    int const per_node = experts / sizes_.num_nodes;
    int const slots_per_node = sizes_.num_slots / sizes_.num_nodes;
    result_.phy2log.assign(at(sizes_.num_slots), -1);
    result_.log2phy.assign(at(experts), {});
    for (int node = 0; node < sizes_.num_nodes; ++node) {
      std::vector<int> members(expert_at.begin() + node * per_node, expert_at.begin() + (node + 1) * per_node);
      fill_node(members, node * slots_per_node, slots_per_node);
    }
    return result_;
  }

 private:
  struct Packed {
    std::vector<int> pack;
    std::vector<int> rank;
  };

  static std::size_t at(int index) { return static_cast<std::size_t>(index); }

  /// a < b, noting a decision that is too close. Equal values are fine where both are single correctly rounded
  /// quotients.
  bool less(Number a, Number b, bool are_sums) {
    double const gap = approximate(b) - approximate(a);
    double const limit = 1e-5 * (approximate(a) + approximate(b));
    bool const equal = !(a < b) && !(b < a);
    bool const zero = equal && approximate(a) == 0;
    if (gap < limit && -gap < limit && !zero && (are_sums || !equal)) result_.clear = false;
    return a < b;
  }

  Packed balanced_packing(std::vector<Number> const& weight, int packs, bool weights_are_sums) {
    int const items = static_cast<int>(weight.size());
    int const room = items / packs;
    Packed out{std::vector<int>(weight.size(), 0), std::vector<int>(weight.size(), 0)};
    if (room == 1) {
      for (int i = 0; i < items; ++i) out.pack[at(i)] = i;
      return out;
    }
    std::vector<int> order;  // insertion sort: stable, descending
    for (int i = 0; i < items; ++i) {
      auto place = order.end();
      while (place != order.begin() && less(weight[at(*(place - 1))], weight[at(i)], weights_are_sums)) --place;
      order.insert(place, i);
    }
    std::vector<Number> sum(at(packs), Number{});
    std::vector<int> count(at(packs), 0);
    for (int const item : order) {
      int chosen = -1;
      for (int pack = 0; pack < packs; ++pack) {
        if (count[at(pack)] == room) continue;
        if (chosen == -1 || less(sum[at(pack)], sum[at(chosen)], true)) chosen = pack;
      }
      if (is_tied(sum, count, chosen, room)) ++result_.pack_sum_ties;
      out.pack[at(item)] = chosen;
      out.rank[at(item)] = count[at(chosen)]++;
      sum[at(chosen)] = sum[at(chosen)] + weight[at(item)];
    }
    return out;
  }

  static bool is_tied(std::vector<Number> const& sum, std::vector<int> const& count, int chosen, int room) {
    bool tied = false;
    for (int pack = chosen + 1; pack < static_cast<int>(sum.size()); ++pack) {
      bool const equal = !(sum[at(chosen)] < sum[at(pack)]) && !(sum[at(pack)] < sum[at(chosen)]);
      tied = tied || (count[at(pack)] < room && equal && Number{} < sum[at(chosen)]);
    }
    return tied;
  }

  /// mlog2log: the expert at every position after groups were packed onto nodes.
  std::vector<int> node_order() {
    int const size = sizes_.num_experts / sizes_.num_groups;
    std::vector<Number> group_weight;
    for (int group = 0; group < sizes_.num_groups; ++group) {
      Number sum{};
      for (int i = 0; i < size; ++i) sum = sum + weights_[at(group * size + i)];
      group_weight.push_back(sum);
    }
    Packed const packed = balanced_packing(group_weight, sizes_.num_nodes, true);
    std::vector<int> expert_at(at(sizes_.num_experts));
    for (int expert = 0; expert < sizes_.num_experts; ++expert) {
      int const group = expert / size;
      int const groups_per_node = sizes_.num_groups / sizes_.num_nodes;
      int const mlog = (packed.pack[at(group)] * groups_per_node + packed.rank[at(group)]) * size + expert % size;
      expert_at[at(mlog)] = expert;
    }
    return expert_at;
  }

  void fill_node(std::vector<int> const& members, int first_slot, int slots) {
    std::vector<int> owner;
    std::vector<int> replica;
    std::vector<int> copies(members.size(), 1);
    for (int i = 0; i < slots; ++i) {
      int chosen = i < static_cast<int>(members.size()) ? i : 0;
      if (i >= static_cast<int>(members.size())) {
        for (int j = 1; j < static_cast<int>(members.size()); ++j)
          if (less(share(members, chosen, copies), share(members, j, copies), false)) chosen = j;
        ++copies[at(chosen)];
      }
      owner.push_back(chosen);
      replica.push_back(copies[at(chosen)] - 1);
    }
    std::vector<Number> slot_weight;
    for (int const member : owner) slot_weight.push_back(share(members, member, copies));
    Packed const packed = balanced_packing(slot_weight, sizes_.num_gpus / sizes_.num_nodes, false);
    for (int i = 0; i < slots; ++i) {
      int const gpu_slots = sizes_.num_slots / sizes_.num_gpus;
      int const slot = first_slot + packed.pack[at(i)] * gpu_slots + packed.rank[at(i)];
      int const expert = members[at(owner[at(i)])];
      auto& columns = result_.log2phy[at(expert)];
      result_.phy2log[at(slot)] = expert;
      if (columns.size() <= at(replica[at(i)])) columns.resize(at(replica[at(i)]) + 1, -1);
      columns[at(replica[at(i)])] = slot;
    }
  }

  Number share(std::vector<int> const& members, int member, std::vector<int> const& copies) const {
    return divide(weights_[at(members[at(member)])], copies[at(member)]);
  }

  std::vector<Number> weights_;
  PolicySizes sizes_;
  PolicyResult result_{};
};

/// Group sums must stay below 2^24, where their order does not matter.
inline PolicyResult eplb_float32(std::vector<int> const& loads, PolicySizes sizes) {
  std::vector<float> weights;
  for (int const load : loads) weights.push_back(static_cast<float>(load));
  return EplbPolicy<float>(std::move(weights), sizes).run();
}

inline PolicyResult eplb_exact(std::vector<int> const& loads, PolicySizes sizes) {
  std::vector<Fraction> weights;
  for (int const load : loads) weights.push_back({load, 1});
  return EplbPolicy<Fraction>(std::move(weights), sizes).run();
}

}  // namespace oracle
