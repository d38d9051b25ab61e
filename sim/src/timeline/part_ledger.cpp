// SPDX-License-Identifier: Apache-2.0
#include "timeline/part_ledger.hpp"

#include <algorithm>

#include "switchyard/internal/to_size.hpp"

namespace switchyard::sim {

PartLedger::Open& PartLedger::open(ExchangeId exchange) {
  auto const [entry, added] = open_.try_emplace(exchange);
  Open& open = entry->second;
  if (!added) return open;
  Traffic const& traffic = traffic_.of(exchange);
  auto const ranks = to_size(traffic_.num_ranks());
  open.started.assign(ranks, 0);
  open.parts_left = traffic_.num_ranks();
  for (std::size_t rank = 0; rank < ranks; ++rank)
    open.flows_left.push_back(
        static_cast<std::int64_t>(traffic.first_of_sender[rank + 1] - traffic.first_of_sender[rank]) +
        traffic.received[rank]);
  return open;
}

void PartLedger::start(ExchangeId exchange, RankId rank) {
  Open& state = open(exchange);
  state.started[rank.index()] = 1;
  ++state.flows_left[rank.index()];  // its own start, taken back here: a part without flows ends through the same door
  end_one(exchange, rank, rank);
}

void PartLedger::end_one(ExchangeId exchange, RankId rank, RankId other) {
  Open& state = open(exchange);
  if (--state.flows_left[rank.index()] > 0 || state.started[rank.index()] == 0) return;
  finished_.push_back({exchange, rank, other});
  if (--state.parts_left == 0) open_.erase(exchange);
}

void PartLedger::end_flow(ExchangeId exchange, Flow const& flow, double start_us, double end_us) {
  Path const path = topology_.path(flow.from, flow.to);
  for (LinkId const link : path.links()) add_span(exchange, topology_.class_of(link), start_us, end_us, flow.bytes);
  end_one(exchange, flow.from, flow.from);
  end_one(exchange, flow.to, flow.from);
}

void PartLedger::add_span(ExchangeId exchange, LinkClass link_class, double start_us, double end_us,
                          std::int64_t bytes) {
  if (bytes == 0) return;
  auto const [entry, added] = spans_.try_emplace({exchange, link_class}, LinkSpan{exchange, link_class, start_us});
  LinkSpan& span = entry->second;
  span.start_us = added ? start_us : std::min(span.start_us, start_us);
  span.end_us = std::max(span.end_us, end_us);
  span.bytes += bytes;
}

std::vector<FinishedPart> PartLedger::take_finished() {
  std::vector<FinishedPart> finished = std::move(finished_);
  finished_.clear();
  std::sort(finished.begin(), finished.end(), [](FinishedPart const& a, FinishedPart const& b) {
    return a.exchange != b.exchange ? a.exchange < b.exchange : a.rank < b.rank;
  });
  return finished;
}

std::vector<LinkSpan> PartLedger::link_spans() const {
  std::vector<LinkSpan> spans;
  for (auto const& [key, span] : spans_) spans.push_back(span);
  return spans;
}

}  // namespace switchyard::sim
