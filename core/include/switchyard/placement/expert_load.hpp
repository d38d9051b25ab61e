// SPDX-License-Identifier: Apache-2.0
/// ExpertLoad: how many tokens every logical expert of every layer received, per recording step.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard {

/// [steps][layers][experts] finite, non-negative amounts (tokens, usually integers; doubles hold them exactly below
/// 2^53).
class ExpertLoad {
 public:
  ExpertLoad() = default;
  /// @throws Error{shape_mismatch} for a wrong length, Error{invalid_argument} for a negative, NaN or infinite load
  ///         (naming step, layer, expert and value) or sizes below 1.
  ExpertLoad(int num_steps, int num_layers, int num_experts, std::vector<double> values);

  [[nodiscard]] int num_steps() const noexcept { return num_steps_; }
  [[nodiscard]] int num_layers() const noexcept { return num_layers_; }
  [[nodiscard]] int num_experts() const noexcept { return num_experts_; }
  /// @return the loads of one layer in one step, [experts].
  [[nodiscard]] std::span<double const> at(int step, int layer) const;
  [[nodiscard]] std::span<double const> values() const noexcept { return values_; }
  /// @return a load of one step: the sum over steps, steps ascending.
  [[nodiscard]] ExpertLoad summed() const;
  friend bool operator==(ExpertLoad const&, ExpertLoad const&) = default;

 private:
  int num_steps_ = 0;
  int num_layers_ = 0;
  int num_experts_ = 0;
  std::vector<double> values_{};
};

}  // namespace switchyard
