// SPDX-License-Identifier: Apache-2.0
// A read-only view never becomes a writable one; SWITCHYARD_BAD selects the line that must not compile.
#include "switchyard/types/tensor_view.hpp"

using switchyard::ConstTensorView;
using switchyard::TensorView;

ConstTensorView widening_is_fine(TensorView const& view) {
  return view;
}

#if SWITCHYARD_BAD == 1
TensorView back(ConstTensorView const& view) {
  return view;
}
#elif SWITCHYARD_BAD == 2
TensorView back_explicitly(ConstTensorView const& view) {
  return TensorView(view);
}
#elif SWITCHYARD_BAD == 3
void write(ConstTensorView const& view) {
  view.elements<float>()[0] = 1.0f;
}
#elif SWITCHYARD_BAD == 4
TensorView from_const_span(std::span<float const> data) {
  return TensorView::matrix(data, 1, 1);
}
#endif
