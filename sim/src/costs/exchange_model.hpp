// SPDX-License-Identifier: Apache-2.0
/// ExchangeModel: what even exchanges tell of uneven ones inside a node.
#pragma once

#include <algorithm>
#include <span>

#include "switchyard/sim/cost_file.hpp"

namespace switchyard::sim {

/// Bytes that a GPU's port, or a pair of GPUs, moves in its two directions.
struct BothWays {
  double one = 0, other = 0;
  [[nodiscard]] double fuller() const { return std::max(one, other); }
  [[nodiscard]] double lesser() const { return std::min(one, other); }
  [[nodiscard]] double alone() const { return fuller() - lesser(); }  ///< when the other direction has ended
};

/// While both directions are busy they go as in an even exchange, then the fuller one goes on alone. Every constant is
/// read from curves of even exchanges, but for what a port carries of its links and NCCL's rule of channels.
class ExchangeModel {
 public:
  /// @param curves all-to-alls of one system, must outlive the model. @throws Error{invalid_argument} for none or one
  /// that never rises
  ExchangeModel(ClusterSpec const& spec, std::span<FittedCurve const> curves);

  [[nodiscard]] double port_us(BothWays const& port) const;
  [[nodiscard]] double pair_us(BothWays const& pair) const;
  /// The part of port_us() that does not grow with bytes.
  [[nodiscard]] double latency_us(BothWays const& port) const;

 private:
  [[nodiscard]] double channel_bytes_per_us(bool low_latency) const;
  [[nodiscard]] double simple_latency_us() const;

  FittedCurve const& of_node_;
  FittedCurve const& of_two_;
  int ranks_;
  double port_bytes_per_us_;
};

}  // namespace switchyard::sim
