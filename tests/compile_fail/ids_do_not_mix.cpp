// SPDX-License-Identifier: Apache-2.0
// Ids of different things neither compare nor convert; SWITCHYARD_BAD selects the line that must not compile.
#include "switchyard/types/ids.hpp"

using switchyard::ExpertId;
using switchyard::RankId;

bool same_rank(RankId a, RankId b) {
  return a == b;
}

#if SWITCHYARD_BAD == 1
bool same(RankId rank, ExpertId expert) {
  return rank == expert;
}
#elif SWITCHYARD_BAD == 2
bool from_other_id(ExpertId expert) {
  return same_rank(expert, RankId{0});
}
#elif SWITCHYARD_BAD == 3
bool from_plain_integer() {
  return same_rank(3, RankId{3});
}
#elif SWITCHYARD_BAD == 4
int to_plain_integer(RankId rank) {
  return rank;
}
#endif
