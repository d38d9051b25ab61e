// SPDX-License-Identifier: Apache-2.0
/// Activation: the nonlinearity between the two layers of an expert, and how its inputs lie. Names and layout only; the
/// arithmetic is core/hd/switchyard/hd/activation.hpp, the rounding points are ExpertRounding.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>

namespace switchyard {

/// With g the gate input and u the up input (gated form), or x alone (plain form). L is ActivationSpec::limit.
enum class Activation : std::uint8_t {
  silu,          ///< x / (1 + e^-x)
  gelu,          ///< x/2 (1 + erf(x / sqrt 2)): what vLLM calls gelu
  gelu_tanh,     ///< x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))
  gelu_quick,    ///< x / (1 + e^(-1.702 x))
  relu2,         ///< max(x, 0)^2
  swigluoai,     ///< gated only: g = min(g, L), u = clamp(u, -L, L); g / (1 + e^(-1.702 g)) * (u + 1)
  swiglu_limit,  ///< gated only: g = min(g, L), u = clamp(u, -L, L); silu(g) * u
};
inline constexpr std::array kAllActivations = {Activation::silu,        Activation::gelu,  Activation::gelu_tanh,
                                               Activation::gelu_quick,  Activation::relu2, Activation::swigluoai,
                                               Activation::swiglu_limit};

/// How the outputs of the first layer feed the activation.
enum class GateLayout : std::uint8_t {
  plain,        ///< I outputs, no gate
  split,        ///< 2 I outputs: I gates, then I ups
  interleaved,  ///< 2 I outputs: gate 0, up 0, gate 1, up 1, ... (gpt-oss)
};

[[nodiscard]] std::string_view to_string(Activation activation) noexcept;
[[nodiscard]] std::string_view to_string(GateLayout layout) noexcept;
/// @return the activation of that name, or nothing.
[[nodiscard]] std::optional<Activation> parse_activation(std::string_view name) noexcept;

/// An activation with everything that its values depend on.
struct ActivationSpec {
  Activation kind = Activation::silu;
  GateLayout layout = GateLayout::split;
  float limit = 7.0f;  ///< L above; read by swigluoai and swiglu_limit only

  /// Outputs of the first layer per unit of the intermediate dimension: 1 (plain) or 2.
  [[nodiscard]] int inputs_per_unit() const noexcept { return layout == GateLayout::plain ? 1 : 2; }
  friend bool operator==(ActivationSpec const&, ActivationSpec const&) = default;
};

}  // namespace switchyard
