// SPDX-License-Identifier: Apache-2.0
#include "costs/exchange_model.hpp"

#include <limits>

#include "costs/p2p_channels.hpp"
#include "switchyard/internal/require.hpp"

namespace switchyard::sim {
namespace {

/// What is left of a link's rate for payload: NCCL's tuner counts 20.6 of 25 GB/s of a Hopper NVLink and direction
/// (src/graph/topo.h).
constexpr double kPayloadPart = 20.6 / 25;

/// The curve of the most ranks up to `ranks`, or of the fewest.
FittedCurve const& curve_for(std::span<FittedCurve const> curves, int ranks) {
  SWITCHYARD_REQUIRE(!curves.empty(), invalid_argument, "a cluster of {} GPUs a node has no all-to-all curve: fit one",
                     ranks);
  // Counts up to `ranks` come first, larger ones before smaller ones; then the others, the other way round.
  auto const order = [ranks](FittedCurve const& curve) {
    return curve.key.ranks <= ranks ? ranks - curve.key.ranks : ranks + curve.key.ranks;
  };
  return *std::min_element(curves.begin(), curves.end(),
                           [&](FittedCurve const& a, FittedCurve const& b) { return order(a) < order(b); });
}

/// The part of a rank's bytes that leaves it when all ranks get equal shares.
double leaving_share(FittedCurve const& curve) {
  SWITCHYARD_REQUIRE(curve.key.ranks >= 2, invalid_argument, "{}: an all-to-all of {} ranks has no peers",
                     to_string(curve.key), curve.key.ranks);
  return static_cast<double>(curve.key.ranks - 1) / curve.key.ranks;
}

/// On the line through two points.
double on_line(Measurement const& a, Measurement const& b, double size) {
  return a.us + (b.us - a.us) / (b.size - a.size) * (size - a.size);
}

/// @param bytes that leave a port. Below the first knot the line through the first two goes on: a latency and what
/// grows with size.
double us_of_port(FittedCurve const& curve, double bytes) {
  double const size = bytes / leaving_share(curve);
  auto const& knots = curve.fit.curve.knots;
  if (knots.size() < 2 || size >= knots[0].size) return cost_us(curve.fit.curve, size);
  return std::max(0.0, on_line(knots[0], knots[1], size));
}

double final_bytes_per_us(FittedCurve const& curve) {
  double const rate = final_size_per_us(curve.fit.curve) * leaving_share(curve);
  SWITCHYARD_REQUIRE(rate > 0, invalid_argument, "{}: its time never grows with size: measure larger messages",
                     to_string(curve.key));
  return rate;
}

/// What a port carries one way: the payload part of what the cluster says, or more where an exchange moved more.
double port_rate(ClusterSpec const& spec, std::span<FittedCurve const> curves) {
  double most = spec.intra_node.gpu_gb_per_s * kBytesPerUsOfGbPerS * kPayloadPart;
  for (FittedCurve const& curve : curves) most = std::max(most, final_bytes_per_us(curve));
  return most;
}

}  // namespace

ExchangeModel::ExchangeModel(ClusterSpec const& spec, std::span<FittedCurve const> curves)
    : of_node_(curve_for(curves, spec.gpus_per_node)),
      of_two_(curve_for(curves, 2)),
      ranks_(spec.gpus_per_node),
      port_bytes_per_us_(port_rate(spec, curves)) {}

double ExchangeModel::port_us(BothWays const& port) const {
  return us_of_port(of_node_, port.lesser()) + port.alone() / port_bytes_per_us_;
}

double ExchangeModel::latency_us(BothWays const& port) const {
  return std::max(0.0, us_of_port(of_node_, port.lesser()) - port.lesser() / final_bytes_per_us(of_node_));
}

double ExchangeModel::pair_us(BothWays const& pair) const {
  if (of_two_.key.ranks != 2) return us_of_port(of_two_, pair.lesser()) + pair.alone() / port_bytes_per_us_;
  // Where a pair has fewer channels than one of two ranks each of them carries more.
  double const more =
      static_cast<double>(peer_message(2, pair.lesser()).channels) / peer_message(ranks_, pair.lesser()).channels;
  PeerMessage const fuller = peer_message(ranks_, pair.fuller());
  double const rate = std::min(port_bytes_per_us_, fuller.channels * channel_bytes_per_us(fuller.low_latency));
  double const both_us = us_of_port(of_two_, pair.lesser() * more);
  return std::max(both_us, fuller.low_latency ? 0 : simple_latency_us()) + pair.alone() / rate;
}

/// What a channel moves in both directions together: in the largest exchange of two ranks, or where the protocol for
/// small messages has all of their channels.
double ExchangeModel::channel_bytes_per_us(bool low_latency) const {
  Measurement const& largest = of_two_.fit.curve.knots.back();
  double const most = largest.size * leaving_share(of_two_);
  if (!low_latency) return 2 * most / largest.us / peer_message(2, most).channels;
  double const end = low_latency_limit(2), begin = end / 4;
  double const us = us_of_port(of_two_, end) - us_of_port(of_two_, begin);
  if (us <= 0) return std::numeric_limits<double>::infinity();
  return 2 * (end - begin) / us / peer_message(2, end).channels;
}

/// What the protocol for large messages takes at size 0: the line through the first knots beyond those of small ones,
/// the second at twice the size of the first or more. 0 when the curve has no two of them.
double ExchangeModel::simple_latency_us() const {
  auto const& knots = of_two_.fit.curve.knots;
  double const share = leaving_share(of_two_);
  auto const first = std::find_if(knots.begin(), knots.end(),
                                  [&](Measurement const& knot) { return knot.size * share > low_latency_limit(2); });
  auto const second =
      std::find_if(first, knots.end(), [&](Measurement const& knot) { return knot.size >= 2 * first->size; });
  return second == knots.end() ? 0 : std::max(0.0, on_line(*first, *second, 0));
}

}  // namespace switchyard::sim
