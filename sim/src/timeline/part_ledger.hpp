// SPDX-License-Identifier: Apache-2.0
/// PartLedger: which flows every rank's part of an exchange still waits for, and when links of a class were busy.
#pragma once

#include <map>
#include <vector>

#include "timeline/network_session.hpp"

namespace switchyard::sim {

class PartLedger {
 public:
  PartLedger(ExchangeTraffic const& traffic, ClusterTopology const& topology)
      : traffic_(traffic), topology_(topology) {}

  /// A part without flows is finished at once.
  void start(ExchangeId exchange, RankId rank);
  /// A flow of `exchange` ended that was under way from `start_us` to `end_us`.
  void end_flow(ExchangeId exchange, Flow const& flow, double start_us, double end_us);
  /// Counts `bytes` on links of `link_class` that were busy from `start_us` to `end_us`.
  void add_span(ExchangeId exchange, LinkClass link_class, double start_us, double end_us, std::int64_t bytes);

  [[nodiscard]] bool has_finished() const noexcept { return !finished_.empty(); }
  /// @return the parts that finished since the last call, exchanges and ranks ascending.
  [[nodiscard]] std::vector<FinishedPart> take_finished();
  [[nodiscard]] std::vector<LinkSpan> link_spans() const;

 private:
  struct Open {
    std::vector<std::int64_t> flows_left;  // [ranks] sends and receives
    std::vector<char> started;             // [ranks]
    int parts_left = 0;
  };
  Open& open(ExchangeId exchange);
  void end_one(ExchangeId exchange, RankId rank, RankId other);

  ExchangeTraffic const& traffic_;
  ClusterTopology const& topology_;
  std::map<ExchangeId, Open> open_;
  std::vector<FinishedPart> finished_;
  std::map<std::pair<ExchangeId, LinkClass>, LinkSpan> spans_;
};

}  // namespace switchyard::sim
