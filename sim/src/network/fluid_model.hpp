// SPDX-License-Identifier: Apache-2.0
/// FluidModel (T1): flows as fluids with max-min fair rates, from one end of a flow to the next.
#pragma once

#include "switchyard/sim/network_model.hpp"

namespace switchyard::sim {

class FluidModel final : public NetworkModel {
 public:
  FluidModel(double merge_fraction, bool first_order) : merge_fraction_(merge_fraction), first_order_(first_order) {}
  [[nodiscard]] Fidelity fidelity() const noexcept override { return Fidelity::t1; }
  [[nodiscard]] NetworkEstimate estimate(ClusterTopology const& topology, std::span<Flow const> flows) const override;
  [[nodiscard]] double merge_fraction() const noexcept { return merge_fraction_; }
  [[nodiscard]] bool first_order() const noexcept { return first_order_; }

 private:
  double merge_fraction_;
  bool first_order_;
};

/// When every flow may start to send: its own start, after its sender has paid for the messages of the flows before it,
/// flows of a sender in list order.
[[nodiscard]] std::vector<double> departure_us(ClusterTopology const& topology, std::span<Flow const> flows);

}  // namespace switchyard::sim
