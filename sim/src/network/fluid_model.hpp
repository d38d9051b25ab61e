// SPDX-License-Identifier: Apache-2.0
/// FluidModel (T1): flows as fluids with max-min fair rates, from one end of a flow to the next.
#pragma once

#include "switchyard/sim/network_model.hpp"

namespace switchyard::sim {

class FluidModel final : public NetworkModel {
 public:
  explicit FluidModel(double merge_fraction) : merge_fraction_(merge_fraction) {}
  [[nodiscard]] Fidelity fidelity() const noexcept override { return Fidelity::t1; }
  [[nodiscard]] NetworkEstimate estimate(ClusterTopology const& topology, std::span<Flow const> flows) const override;
  [[nodiscard]] double merge_fraction() const noexcept { return merge_fraction_; }

 private:
  double merge_fraction_;
};

/// T1's rates at the moment when all flows send, kept to every flow's end.
class FirstOrderModel final : public NetworkModel {
 public:
  [[nodiscard]] Fidelity fidelity() const noexcept override { return Fidelity::t1_first_order; }
  [[nodiscard]] NetworkEstimate estimate(ClusterTopology const& topology, std::span<Flow const> flows) const override;
};

/// When every flow may start to send: its own start, after its sender has paid for the messages of the flows before it,
/// flows of a sender in list order.
[[nodiscard]] std::vector<double> departure_us(ClusterTopology const& topology, std::span<Flow const> flows);

}  // namespace switchyard::sim
