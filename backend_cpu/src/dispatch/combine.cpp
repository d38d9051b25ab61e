// SPDX-License-Identifier: Apache-2.0
// Rounding of whole rows, for results that arrive wider than their tokens.
#include "stages.hpp"

namespace switchyard::cpu {

void round_rows(StageContext const& context, ConstRows in, Rows out, DType dtype) {
  auto const& kernels = kernels_of(context.kernels, dtype);
  for_items(in.count, in.row_bytes, [&](std::int64_t begin, std::int64_t end) {
    kernels.narrow(reinterpret_cast<float const*>(in.data), out.data, begin * context.hidden, end * context.hidden);
  });
}

}  // namespace switchyard::cpu
