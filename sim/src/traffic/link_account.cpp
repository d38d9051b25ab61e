// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <cmath>

#include "switchyard/internal/require.hpp"
#include "switchyard/internal/to_size.hpp"
#include "switchyard/sim/flow.hpp"
#include "switchyard/types/counts.hpp"

namespace switchyard::sim {
namespace {

void require_valid(Flow const& flow) {
  SWITCHYARD_REQUIRE(flow.bytes >= 0 && flow.messages >= 0, invalid_argument,
                     "a flow from rank {} to rank {} has {} bytes in {} messages: both must be 0 or more",
                     flow.from.value(), flow.to.value(), flow.bytes, flow.messages);
  SWITCHYARD_REQUIRE(std::isfinite(flow.start_us) && flow.start_us >= 0, invalid_argument,
                     "a flow from rank {} to rank {} starts at {} us: give 0 or a positive number", flow.from.value(),
                     flow.to.value(), flow.start_us);
}

}  // namespace

LinkAccount::LinkAccount(ClusterTopology const& topology)
    : topology_(&topology),
      links_(to_size(topology.num_links())),
      sent_bytes_(to_size(topology.num_ranks())),
      received_bytes_(to_size(topology.num_ranks())),
      sender_us_(to_size(topology.num_ranks())) {}

void LinkAccount::add_to_link(LinkId link, Flow const& flow, Path const& path) {
  LinkState& state = links_[link.index()];
  bool const first = state.messages == 0 && state.bytes == 0;
  state.earliest_us = first ? flow.start_us : std::min(state.earliest_us, flow.start_us);
  state.least_latency_us = first ? path.latency_us : std::min(state.least_latency_us, path.latency_us);
  state.bytes += flow.bytes;  // no link carries more than the total, which is checked
  state.messages += flow.messages;
}

void LinkAccount::add(Flow const& flow) {
  require_valid(flow);
  Path const path = topology_->path(flow.from, flow.to);
  total_bytes_ = checked_add(total_bytes_, flow.bytes);
  total_messages_ = checked_add(total_messages_, flow.messages);
  sent_bytes_[flow.from.index()] += flow.bytes;
  received_bytes_[flow.to.index()] += flow.bytes;
  if (path.num_hops == 0) local_bytes_ += flow.bytes;
  if (path.num_hops == 0 || flow.messages == 0) return;
  for (LinkId const link : path.links()) add_to_link(link, flow, path);
  sender_us_[flow.from.index()] += path.message_us * static_cast<double>(flow.messages);
  double const alone = static_cast<double>(flow.bytes) / path.peer_bytes_per_us;
  flow_bound_us_ = std::max(flow_bound_us_, flow.start_us + alone + path.latency_us);
}

void LinkAccount::add(std::span<Flow const> flows) {
  for (Flow const& flow : flows) add(flow);
}

std::int64_t LinkAccount::link_bytes(LinkId link) const {
  (void)topology_->class_of(link);
  return links_[link.index()].bytes;
}

std::int64_t LinkAccount::link_messages(LinkId link) const {
  (void)topology_->class_of(link);
  return links_[link.index()].messages;
}

std::int64_t LinkAccount::sent_bytes(RankId rank) const {
  return sent_bytes_.at(rank.index());
}
std::int64_t LinkAccount::received_bytes(RankId rank) const {
  return received_bytes_.at(rank.index());
}

double LinkAccount::bound_of_link(LinkId link) const {
  LinkState const& state = links_[link.index()];
  if (state.messages == 0) return 0;
  return state.earliest_us + static_cast<double>(state.bytes) / topology_->bytes_per_us(link) + state.least_latency_us;
}

double LinkAccount::lower_bound_us() const noexcept {
  double bound = flow_bound_us_;
  for (double const us : sender_us_) bound = std::max(bound, us);
  for (std::int32_t link = 0; link < topology_->num_links(); ++link)
    bound = std::max(bound, bound_of_link(LinkId(link)));
  return bound;
}

LinkId LinkAccount::bottleneck() const noexcept {
  double const bound = lower_bound_us();
  for (std::int32_t link = 0; link < topology_->num_links() && bound > 0; ++link)
    if (bound_of_link(LinkId(link)) == bound) return LinkId(link);
  return LinkId(-1);
}

}  // namespace switchyard::sim
