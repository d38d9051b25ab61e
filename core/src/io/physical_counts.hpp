// SPDX-License-Identifier: Apache-2.0
/// PhysicalCounts: loads that an engine counted per physical slot, turned into loads of logical experts.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "load_formats.hpp"

namespace switchyard::io {

/// Collects steps. An expert without a slot in a step has load 0 there; what was counted on empty slots (-1) is left
/// out, as the engines do.
class PhysicalCounts {
 public:
  explicit PhysicalCounts(LoadText const& text) : text_(text) {}

  /// @param counts [layers][slots] loads. @param map the experts of the same slots, at least -1, below the limits.
  /// @throws Error{parse} when the collected loads exceed the limits.
  void add_step(std::size_t layers, std::span<double const> counts, std::span<std::int64_t const> map);

  [[nodiscard]] bool empty() const { return steps_.empty(); }
  /// @return the number of layers that every step must have; 0 before the first.
  [[nodiscard]] std::size_t layers() const { return layers_; }

  /// Experts: the count asked for, else the largest id of any map + 1. @throws Error{parse} as require_load_sizes.
  [[nodiscard]] ExpertLoad load() const;

 private:
  struct Step {
    std::size_t experts = 0;
    std::vector<double> loads{};  // [layers][experts of this step]
  };

  LoadText const& text_;
  std::size_t layers_ = 0;
  std::size_t cells_ = 0;
  std::vector<Step> steps_;
};

}  // namespace switchyard::io
