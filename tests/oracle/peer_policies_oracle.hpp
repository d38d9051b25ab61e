// SPDX-License-Identifier: Apache-2.0
/// Oracles, in plain loops, of the placements that vLLM, SGLang (deepseek_vec) and TensorRT-LLM make for one layer.
/// Written from the descriptions of their policies; no code of the library. Loads are whole numbers below 2^24 in sum,
/// so that the order of sums does not matter.
///
/// Worked example of the replicas, loads 6 3 3 with five slots: DeepSeek's family gives the first spare slot to expert
/// 0 (6/1) and, now that all three carry 3, the second to expert 0 again; TensorRT-LLM's heap prefers the highest
/// expert, so the second goes to expert 2.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace oracle {

using Row = std::vector<int>;

struct PeerSizes {
  int num_experts;
  int num_slots;
  int num_groups;
  int num_nodes;
  int num_gpus;
};

inline std::size_t peer_at(int index) {
  return static_cast<std::size_t>(index);
}

/// Indices of falling values by repeated search of the first largest that is left.
template <typename Value>
Row falling(std::vector<Value> const& values) {
  Row order;
  std::vector<bool> taken(values.size(), false);
  for (std::size_t n = 0; n < values.size(); ++n) {
    int best = -1;
    for (int i = 0; i < static_cast<int>(values.size()); ++i)
      if (!taken[peer_at(i)] && (best < 0 || values[peer_at(i)] > values[peer_at(best)])) best = i;
    taken[peer_at(best)] = true;
    order.push_back(best);
  }
  return order;
}

/// Contents of every pack, in order of arrival: falling items, each to the first lightest pack with room.
template <typename Sum, typename Value>
std::vector<Row> packs_of(std::vector<Value> const& values, int packs, bool keep_single_items) {
  std::vector<Row> content(peer_at(packs));
  int const room = static_cast<int>(values.size()) / packs;
  if (room == 1 && keep_single_items) {
    for (int i = 0; i < packs; ++i) content[peer_at(i)].push_back(i);
    return content;
  }
  std::vector<Sum> sum(peer_at(packs), Sum(0));
  for (int const item : falling(values)) {
    int best = -1;
    for (int pack = 0; pack < packs; ++pack) {
      if (static_cast<int>(content[peer_at(pack)].size()) == room) continue;
      if (best < 0 || sum[peer_at(pack)] < sum[peer_at(best)]) best = pack;
    }
    content[peer_at(best)].push_back(item);
    sum[peer_at(best)] += static_cast<Sum>(values[peer_at(item)]);
  }
  return content;
}

/// Experts in the order in which nodes hold them after groups were packed onto nodes.
template <typename Sum>
Row experts_by_node(Row const& loads, PeerSizes s, bool keep_single_groups) {
  int const size = s.num_experts / s.num_groups;
  std::vector<float> weight;
  for (int group = 0; group < s.num_groups; ++group) {
    int sum = 0;
    for (int i = 0; i < size; ++i) sum += loads[peer_at(group * size + i)];
    weight.push_back(static_cast<float>(sum));
  }
  Row order;
  for (Row const& groups : packs_of<Sum>(weight, s.num_nodes, keep_single_groups))
    for (int const group : groups)
      for (int i = 0; i < size; ++i) order.push_back(group * size + i);
  return order;
}

/// vLLM without a current placement: float32 loads, float64 quotients and sums.
inline Row vllm_slots(Row const& loads, PeerSizes s) {
  if (s.num_groups % s.num_nodes != 0) s.num_groups = s.num_nodes = 1;
  Row const order = experts_by_node<double>(loads, s, true);
  int const per_node = s.num_experts / s.num_nodes;
  Row slots;
  for (int node = 0; node < s.num_nodes; ++node) {
    Row made;
    Row copies(peer_at(per_node), 1);
    for (int i = 0; i < per_node; ++i) made.push_back(i);
    auto const ratio = [&](int i) {
      return static_cast<double>(static_cast<float>(loads[peer_at(order[peer_at(node * per_node + i)])])) /
             copies[peer_at(i)];
    };
    while (static_cast<int>(made.size()) < s.num_slots / s.num_nodes) {
      int best = 0;
      for (int i = 1; i < per_node; ++i)
        if (ratio(i) > ratio(best)) best = i;
      made.push_back(best);
      ++copies[peer_at(best)];
    }
    std::vector<double> weight;
    for (int const i : made) weight.push_back(ratio(i));
    for (Row const& rank : packs_of<double>(weight, s.num_gpus / s.num_nodes, true))
      for (int const item : rank) slots.push_back(order[peer_at(node * per_node + made[peer_at(item)])]);
  }
  return slots;
}

/// vLLM's second step: on every rank, experts of the old row that are still there keep their slots.
inline Row keep_vllm_slots(Row const& old_slots, Row const& new_slots, int num_gpus) {
  Row out(new_slots.size(), -2);
  std::size_t const n = new_slots.size() / peer_at(num_gpus);
  for (std::size_t base = 0; base < new_slots.size(); base += n) {
    Row left(new_slots.begin() + static_cast<std::ptrdiff_t>(base),
             new_slots.begin() + static_cast<std::ptrdiff_t>(base + n));
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < left.size(); ++j)
        if (left[j] == old_slots[base + i]) {
          out[base + i] = left[j];
          left.erase(left.begin() + static_cast<std::ptrdiff_t>(j));
          break;
        }
    for (std::size_t i = 0; i < n; ++i)
      if (out[base + i] == -2) {
        out[base + i] = left.front();
        left.erase(left.begin());
      }
  }
  return out;
}

/// SGLang's deepseek_vec: every candidate is tried in every step. @param steps [steps][experts].
inline Row sglang_vec_slots(std::vector<Row> const& steps, PeerSizes s, bool hierarchical) {
  if (!hierarchical) s.num_groups = s.num_nodes = 1;
  Row total(peer_at(s.num_experts), 0);
  for (Row const& step : steps)
    for (int e = 0; e < s.num_experts; ++e) total[peer_at(e)] += step[peer_at(e)];
  Row const order = experts_by_node<float>(total, s, false);
  int const per_node = s.num_experts / s.num_nodes;
  Row slots;
  for (int node = 0; node < s.num_nodes; ++node) {
    auto const expert = [&](int i) { return order[peer_at(node * per_node + i)]; };
    Row made;
    Row copies(peer_at(per_node), 1);
    for (int i = 0; i < per_node; ++i) made.push_back(i);
    while (static_cast<int>(made.size()) < s.num_slots / s.num_nodes) {
      int chosen = -1;
      float chosen_sum = 0;
      for (int candidate = 0; candidate < per_node; ++candidate) {
        float sum = 0;
        for (Row const& step : steps) {
          auto const plain = [&](int i) { return static_cast<float>(step[peer_at(expert(i))]); };
          auto const score = [&](int i) {
            return (plain(i) + static_cast<float>(node * per_node + i) * 1e-4F) /
                   static_cast<float>(copies[peer_at(i)]);
          };
          int top = 0;
          for (int i = 1; i < per_node; ++i)
            if (score(i) > score(top)) top = i;
          float largest = score(top);
          if (candidate == top) {
            largest = plain(top) / static_cast<float>(copies[peer_at(top)] + 1);
            for (int i = 0; i < per_node; ++i)
              if (i != top && score(i) > largest) largest = score(i);
          }
          sum += largest;
        }
        if (chosen < 0 || sum < chosen_sum) {
          chosen = candidate;
          chosen_sum = sum;
        }
      }
      made.push_back(chosen);
      ++copies[peer_at(chosen)];
    }
    if (s.num_slots == s.num_gpus) {
      for (int const i : made) slots.push_back(expert(i));
      continue;
    }
    std::vector<float> weight;
    for (int const i : made)
      weight.push_back(static_cast<float>(total[peer_at(expert(i))]) / static_cast<float>(copies[peer_at(i)]));
    int const ranks = s.num_gpus / s.num_nodes;
    std::vector<Row> held(peer_at(ranks));
    int rank = 0;
    int direction = 1;
    for (int const item : falling(weight)) {  // forwards, then backwards, the turning rank twice
      held[peer_at(rank)].push_back(expert(made[peer_at(item)]));
      if (rank + direction < 0 || rank + direction == ranks)
        direction = -direction;
      else
        rank += direction;
    }
    for (Row const& row : held) slots.insert(slots.end(), row.begin(), row.end());
  }
  return slots;
}

/// TensorRT-LLM: float64 quotients; the highest expert of equal quotients is replicated.
inline Row tensorrt_llm_slots(Row const& loads, int num_slots, int num_gpus) {
  int const experts = static_cast<int>(loads.size());
  Row copies(loads.size(), 1);
  int total = 0;
  for (int const load : loads) total += load;
  auto const ratio = [&](int e) { return static_cast<double>(loads[peer_at(e)]) / copies[peer_at(e)]; };
  for (int made = experts; made < num_slots; ++made) {
    int best = made % experts;  // without any load: one pass over the experts after the other
    for (int e = 0; e < experts && total > 0; ++e)
      if (e == 0 || ratio(e) >= ratio(best)) best = e;
    ++copies[peer_at(best)];
  }
  std::vector<double> size;
  Row expert;
  for (int e = 0; e < experts; ++e)
    for (int copy = 0; copy < copies[peer_at(e)]; ++copy) {
      size.push_back(ratio(e));
      expert.push_back(e);
    }
  Row slots;
  for (Row const& rank : packs_of<double>(size, num_gpus, false))
    for (int const item : rank) slots.push_back(expert[peer_at(item)]);
  return slots;
}

}  // namespace oracle
