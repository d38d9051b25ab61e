// SPDX-License-Identifier: Apache-2.0
#include "group_view.hpp"

#include <algorithm>
#include <utility>

#include "switchyard/internal/require.hpp"

namespace switchyard::cpu {

RankId GroupView::rank_in_group(RankId rank) const {
  auto const place = std::lower_bound(members.begin(), members.end(), rank);
  return RankId(static_cast<std::int32_t>(place - members.begin()));
}

GroupView view_of_group(int num_ranks, std::vector<RankId> const& dead_ranks, int group_size, RankId me,
                        char const* plan) {
  GroupView group;
  for (RankId rank(0); rank.value() < num_ranks; ++rank)
    if (group_size == num_ranks || !std::ranges::binary_search(dead_ranks, rank)) group.members.push_back(rank);
  SWITCHYARD_REQUIRE(std::cmp_equal(group_size, group.members.size()), shape_mismatch,
                     "the {} is for {} ranks, {} of them dead, the group has {}", plan, num_ranks, dead_ranks.size(),
                     group_size);
  group.me = group.members[me.index()];
  return group;
}

}  // namespace switchyard::cpu
