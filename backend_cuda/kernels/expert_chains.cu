// SPDX-License-Identifier: Apache-2.0
// Products of the exact expert engine on plain operands: forward, and the three shapes of its backward.
#include "chain_kernel.cuh"

namespace switchyard::cuda {

void launch_chain_product(ChainLines lines, ChainProduct const& product, StreamView stream) {
  switch (lines) {
    case ChainLines::both_along: return launch_chains<ChainLines::both_along, false>(product, stream);
    case ChainLines::right_across: return launch_chains<ChainLines::right_across, false>(product, stream);
    case ChainLines::both_across: return launch_chains<ChainLines::both_across, false>(product, stream);
  }
}

}  // namespace switchyard::cuda
