// SPDX-License-Identifier: Apache-2.0
// Amounts of different units neither compare nor add; SWITCHYARD_BAD selects the line that must not compile.
#include "switchyard/types/counts.hpp"

using switchyard::ByteCount;
using switchyard::TokenCount;

TokenCount sum(TokenCount a, TokenCount b) {
  return a + b;
}

#if SWITCHYARD_BAD == 1
bool same(TokenCount tokens, ByteCount bytes) {
  return tokens == bytes;
}
#elif SWITCHYARD_BAD == 2
TokenCount mixed_sum(TokenCount tokens, ByteCount bytes) {
  return tokens + bytes;
}
#elif SWITCHYARD_BAD == 3
bool less(TokenCount tokens, ByteCount bytes) {
  return tokens < bytes;
}
#elif SWITCHYARD_BAD == 4
TokenCount from_integer() {
  return 4;
}
#endif
