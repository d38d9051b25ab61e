// SPDX-License-Identifier: Apache-2.0
#include "switchyard/sim/network_model.hpp"

#include <cmath>

#include "network/chunk_model.hpp"
#include "network/fluid_model.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

class BoundModel final : public NetworkModel {
 public:
  [[nodiscard]] Fidelity fidelity() const noexcept override { return Fidelity::t0; }
  [[nodiscard]] NetworkEstimate estimate(ClusterTopology const& topology, std::span<Flow const> flows) const override {
    LinkAccount account(topology);
    account.add(flows);
    NetworkEstimate estimate;
    estimate.makespan_us = account.lower_bound_us();
    estimate.bottleneck = account.bottleneck();
    return estimate;
  }
};

}  // namespace

std::string_view to_string(Fidelity fidelity) noexcept {
  switch (fidelity) {
    case Fidelity::t0: return "t0";
    case Fidelity::t1: return "t1";
    case Fidelity::t1_first_order: return "t1-first-order";
    default: return "t2";
  }
}

std::unique_ptr<NetworkModel const> make_network_model(Fidelity fidelity, NetworkModelOptions const& options) {
  SWITCHYARD_REQUIRE(options.merge_fraction >= 0 && options.merge_fraction < 1, invalid_argument,
                     "merge_fraction is {}: give at least 0 and less than 1", options.merge_fraction);
  SWITCHYARD_REQUIRE(options.chunk_bytes >= 1 && options.window_chunks >= 1, invalid_argument,
                     "chunks of {} bytes with {} under way: both must be at least 1", options.chunk_bytes,
                     options.window_chunks);
  bool const finite = std::isfinite(options.channel_gb_per_s);
  SWITCHYARD_REQUIRE(options.channels_per_rank >= 0 && finite && options.channel_gb_per_s >= 0, invalid_argument,
                     "{} channels of {} GB/s: give 0 for no limit or positive numbers", options.channels_per_rank,
                     options.channel_gb_per_s);
  if (fidelity == Fidelity::t0) return std::make_unique<BoundModel>();
  if (fidelity == Fidelity::t1) return std::make_unique<FluidModel>(options.merge_fraction);
  if (fidelity == Fidelity::t1_first_order) return std::make_unique<FirstOrderModel>();
  return std::make_unique<ChunkModel>(options);
}

}  // namespace switchyard::sim
