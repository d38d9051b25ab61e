// SPDX-License-Identifier: Apache-2.0
/// by_activation(): calls a generic function with the activation's kind as a constant.
#pragma once

#include "switchyard/hd/activation.hpp"

namespace switchyard::cuda {

template <Activation kKind>
struct ActivationConstant {
  static constexpr Activation value = kKind;
};

template <typename Function>
void by_activation(Activation kind, Function const& function) {
  switch (kind) {
    case Activation::silu: return function(ActivationConstant<Activation::silu>{});
    case Activation::gelu: return function(ActivationConstant<Activation::gelu>{});
    case Activation::gelu_tanh: return function(ActivationConstant<Activation::gelu_tanh>{});
    case Activation::gelu_quick: return function(ActivationConstant<Activation::gelu_quick>{});
    case Activation::relu2: return function(ActivationConstant<Activation::relu2>{});
    case Activation::swigluoai: return function(ActivationConstant<Activation::swigluoai>{});
    case Activation::swiglu_limit: return function(ActivationConstant<Activation::swiglu_limit>{});
  }
}

}  // namespace switchyard::cuda
