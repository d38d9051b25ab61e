// SPDX-License-Identifier: Apache-2.0
/// NetworkModel: how long a set of flows takes on a cluster, at three fidelities behind one interface.
#pragma once

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "switchyard/sim/flow.hpp"

namespace switchyard::sim {

enum class Fidelity : std::uint8_t {
  t0,  ///< the lower bound of LinkAccount: no schedule is faster
  t1,  ///< fluid: rates are max-min fair over links and pairs at every moment, work-conserving, event driven
  t2,  ///< chunks, store and forward: round robin of a sender's flows, a window of chunks in flight per flow
};
[[nodiscard]] std::string_view to_string(Fidelity fidelity) noexcept;

struct NetworkModelOptions {
  /// t1: starts and ends within this fraction of the lower bound after the first of them are one event: a flow that has
  /// ended keeps its share of the links until then, a flow that may start waits until then. The result is what links
  /// can carry and no shorter than the lower bound. 0 = every start and end is an event of its own.
  double merge_fraction = 0;
  /// t1: every flow keeps the rate it has when all flows send at once. One fill instead of events: a schedule that
  /// links can carry, but one that hands no capacity on, so skewed traffic takes too long.
  bool first_order = false;
  std::int64_t chunk_bytes = 64 << 10;  ///< t2
  int window_chunks = 64;               ///< t2: chunks of a flow that have left and have not arrived
  int channels_per_rank = 0;            ///< t2: chunks that a rank sends at once, by SMs or queue pairs; 0 = no limit
  double channel_gb_per_s = 0;          ///< t2: what one of them moves; 0 = no limit
};

struct NetworkEstimate {
  double makespan_us = 0;
  std::vector<double> finish_us{};  ///< [flows] arrival of the last byte; empty for t0
  LinkId bottleneck{-1};            ///< the busiest link by bytes over capacity, -1 when nothing crosses a link
  std::int64_t events = 0;
  /// t1: how far the makespan may be from the one without merging. Per flow: its own wait and the time for which ended
  /// flows have kept the links of its path, in link time; the makespan less the last end after these are given back,
  /// plus one window, since max-min rates are not monotone and indirect delays are not on the path. Not a theorem: a
  /// property test holds it against unmerged runs.
  double merge_error_us = 0;
};

/// Same input, same bits, whatever the machine: sums run in flow order, links ascending.
class NetworkModel {
 public:
  virtual ~NetworkModel() = default;
  [[nodiscard]] virtual Fidelity fidelity() const noexcept = 0;
  /// @throws Error{invalid_argument} as LinkAccount::add; Error{unsupported} for t2 beyond 256 ranks.
  [[nodiscard]] virtual NetworkEstimate estimate(ClusterTopology const& topology,
                                                 std::span<Flow const> flows) const = 0;
};

/// @throws Error{invalid_argument} for a merge fraction outside [0, 1), chunks or windows below 1.
[[nodiscard]] std::unique_ptr<NetworkModel const> make_network_model(Fidelity fidelity,
                                                                     NetworkModelOptions const& options = {});

}  // namespace switchyard::sim
