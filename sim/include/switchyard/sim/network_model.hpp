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
  /// t1's first moment only: every flow keeps the rate that it has when all send at once. One fill instead of events; a
  /// schedule that links can carry, but one that hands no capacity on, so skewed traffic takes too long.
  t1_first_order,
  t2,  ///< chunks, store and forward: round robin of a sender's flows, a window of chunks in flight per flow
};
[[nodiscard]] std::string_view to_string(Fidelity fidelity) noexcept;

struct NetworkModelOptions {
  /// t1: the error that events may be merged for, as a part of the makespan; 0 = every start and end is an event of its
  /// own. Flows that share links and end within a window leave together, at the mean of their ends weighted by rate;
  /// flows that may start within one start at its close. Windows begin at a quarter of this fraction of the lower bound
  /// and get narrower until the stated error keeps it, at last none: then the run is exact.
  double merge_fraction = 0;
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
  /// t1: how far the makespan may be from the one without merging, at most `merge_fraction` of it. What is certain: the
  /// run is the unmerged one of other flows, each longer or shorter by what it sends between its own end and the common
  /// one, starting up to two windows later, and the differences of a window cancel. What follows for the makespan is no
  /// theorem, because max-min rates are not monotone: it is taken as the most that links on a flow's path were ever
  /// ahead or behind, as time, plus the flow's wait and two windows. A property test holds it against unmerged runs; 0
  /// where nothing was merged.
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
