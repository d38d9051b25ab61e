// SPDX-License-Identifier: Apache-2.0
/// Oracle of vllm-ascend's default policy for one layer, over plain lists. Written from its description; no code of the
/// library.
///
/// Worked example, loads 6 3 3 on two ranks of two slots: the list sorted falling is 0 2 1 (of equals the later first);
/// the copy goes to expert 0, whose share is 3, on rank 0. First copies: all shares are 3 now; the list 0 2 1 sorted
/// again is 1 2 0. Expert 1 goes to the lighter rank 1, expert 2 to rank 0 (3 each, the lower), expert 0 to rank 1.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace oracle {

struct AscendResult {
  std::vector<std::vector<int>> boxes{};  ///< [ranks] in order of arrival
  double peak = 0;
  int replaced = 0;     ///< duplicates exchanged
  bool defined = true;  ///< the original finds a replacement for every duplicate
};

using AscendItem = std::pair<int, double>;

/// Items by falling weight, of equal ones the later first: insertion before all that are not larger.
inline std::vector<AscendItem> ascend_sorted(std::vector<AscendItem> const& items) {
  std::vector<AscendItem> out;
  for (auto const& item : items) {
    std::size_t place = 0;
    while (place < out.size() && out[place].second > item.second) ++place;
    out.insert(out.begin() + static_cast<std::ptrdiff_t>(place), item);
  }
  return out;
}

inline AscendResult ascend_default(std::vector<double> const& loads, int cards, int slots) {
  AscendResult result;
  int const experts = static_cast<int>(loads.size());
  auto const at = [](int i) { return static_cast<std::size_t>(i); };
  std::vector<int> extra(loads.size(), 0);
  std::vector<AscendItem> items;
  for (int e = 0; e < experts; ++e) items.emplace_back(e, loads[at(e)]);
  for (int spare = cards * slots - experts; spare > 0; --spare) {
    items = ascend_sorted(items);
    for (auto& [e, weight] : items) {
      if (extra[at(e)] == cards - 1) continue;
      double const raw = weight * (extra[at(e)] + 1);
      ++extra[at(e)];
      weight = raw / (extra[at(e)] + 1);
      break;
    }
  }
  std::vector<std::vector<double>> weights(at(cards));
  std::vector<double> sums(at(cards), 0.0);
  result.boxes.resize(at(cards));
  auto const put = [&](int card, AscendItem const& item) {
    result.boxes[at(card)].push_back(item.first);
    weights[at(card)].push_back(item.second);
    sums[at(card)] += item.second;
  };
  auto const has = [&](int card, int e) {
    auto const& box = result.boxes[at(card)];
    return std::count(box.begin(), box.end(), e) > 0;
  };
  int turn = 0;
  for (int e = 0; e < experts; ++e)
    for (auto const& item : items)
      if (item.first == e)
        for (int copy = 0; copy < extra[at(e)]; ++copy) put(turn++ % cards, item);
  items = ascend_sorted(items);
  for (auto const& item : items) {
    int chosen = -1;
    for (int pass = 0; pass < 2 && chosen < 0; ++pass)  // second pass: duplicates allowed, the first with room
      for (int card = 0; card < cards; ++card) {
        if (static_cast<int>(result.boxes[at(card)].size()) >= slots) continue;
        if (pass == 0 && has(card, item.first)) continue;
        if (chosen < 0 || (pass == 0 && sums[at(card)] < sums[at(chosen)])) chosen = card;
      }
    put(chosen, item);
  }
  for (int card = 0; card < cards; ++card)
    for (int e = 0; e < experts; ++e)
      while (std::count(result.boxes[at(card)].begin(), result.boxes[at(card)].end(), e) > 1) {
        ++result.replaced;
        auto& box = result.boxes[at(card)];
        auto const slot = static_cast<std::size_t>(std::find(box.begin(), box.end(), e) - box.begin());
        double const weight = weights[at(card)][slot];
        auto const score = [&](AscendItem const& item) {
          int const copies = extra[at(item.first)] + 1;
          return std::fabs(item.second * copies / (copies + 1) - weight);
        };
        std::vector<AscendItem> near;
        for (auto const& item : items) {
          std::size_t place = near.size();
          while (place > 0 && score(near[place - 1]) > score(item)) --place;
          near.insert(near.begin() + static_cast<std::ptrdiff_t>(place), item);
        }
        items = near;
        AscendItem* found = nullptr;
        for (auto& item : items)
          if (found == nullptr && extra[at(item.first)] < cards - 1 && !has(card, item.first)) found = &item;
        if (found == nullptr) {
          result.defined = false;
          return result;
        }
        double const raw = found->second * (extra[at(found->first)] + 1);
        ++extra[at(found->first)];
        found->second = raw / (extra[at(found->first)] + 1);
        box[slot] = found->first;
        weights[at(card)][slot] = found->second;
        for (auto& item : items)
          if (item.first == e) item.second = weight * (extra[at(e)] + 1) / extra[at(e)];
        --extra[at(e)];
      }
  for (auto const& row : weights) {
    double sum = 0;
    for (double const weight : row) sum += weight;
    result.peak = std::max(result.peak, sum);
  }
  return result;
}

}  // namespace oracle
