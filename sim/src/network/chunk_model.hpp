// SPDX-License-Identifier: Apache-2.0
/// ChunkModel (T2): flows as chunks that are stored and forwarded link by link.
#pragma once

#include "switchyard/sim/network_model.hpp"

namespace switchyard::sim {

/// Every link sends one chunk at a time and takes the waiting flows in turn (round robin by flow number). A flow has at
/// most a window of chunks under way; an arrival frees one at once. A pair's limit is one more link,
/// the pair's own, before the others. A rank's channels (SMs, queue pairs) take one chunk each, flows in
/// turn, and hold it until it has passed the pair's limit and the channel's own speed. The latency of a path is paid
/// once, at its end.
class ChunkModel final : public NetworkModel {
 public:
  static constexpr int kMaxRanks = 256;
  explicit ChunkModel(NetworkModelOptions const& options) : options_(options) {}
  [[nodiscard]] Fidelity fidelity() const noexcept override { return Fidelity::t2; }
  [[nodiscard]] NetworkEstimate estimate(ClusterTopology const& topology, std::span<Flow const> flows) const override;

 private:
  NetworkModelOptions options_;
};

}  // namespace switchyard::sim
