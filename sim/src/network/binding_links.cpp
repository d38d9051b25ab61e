// SPDX-License-Identifier: Apache-2.0
#include "network/binding_links.hpp"

#include <algorithm>
#include <cmath>

namespace switchyard::sim {
namespace {

constexpr double kUnitsPerByte = 16;
constexpr std::int64_t kMostUnits = std::int64_t{1} << 36;  // 2^24 parts of them fit beside kOpen
constexpr std::int64_t kOpen = std::int64_t{1} << 61;

/// At most kMostUnits for links and parts alike, so that what is wider compares as equal.
std::int64_t units_of(double rate, double (*rounded)(double)) {
  return static_cast<std::int64_t>(std::min(rounded(rate * kUnitsPerByte), static_cast<double>(kMostUnits)));
}
std::int64_t units_up(double rate) {
  return units_of(rate, [](double x) { return std::ceil(x); });
}

}  // namespace

std::int64_t BindingLinks::Part::units() const noexcept {
  return flows > (most - 1) / limit ? most : flows * limit;  // the product stays below `most`
}

bool BindingLinks::leans(std::uint32_t link, std::uint32_t feeder) const noexcept {
  double const own = paths_.capacity[link];
  double const other = paths_.capacity[feeder];
  return other < own || (other == own && feeder < link);
}

/// Puts the next hop of `flow` into its part: the flows of `link` that lean on `feeder`, or on nothing.
void BindingLinks::assign(Parting& parting, std::uint32_t flow, std::uint32_t link, std::uint32_t feeder) {
  bool const leaning = leans(link, feeder);
  auto const fresh = static_cast<std::uint32_t>(parting.parts.size());
  std::uint64_t const key = std::uint64_t{link} << 32 | (leaning ? feeder : link);
  auto const found = parting.table.find_or_add(key, fresh, [](std::uint32_t) { return true; });
  if (found == fresh) parting.parts.push_back({link, leaning ? units_up(paths_.capacity[feeder]) : kOpen, 1, 0});
  Part& part = parting.parts[found];
  // A flow without a limit of its own fills what it leans on, and overflows a link on which it leans on nothing.
  std::int64_t const widest = leaning ? part.most : bounds_[link].capacity + 1;
  double const limit = paths_.limit[flow];
  part.limit = std::max(part.limit, std::isfinite(limit) ? std::min(units_up(limit), widest) : widest);
  parting.part_of_hop.push_back(found);
}

BindingLinks::BindingLinks(FlowPaths const& paths) : paths_(paths), bounds_(paths.capacity.size()) {
  for (std::size_t link = 0; link < bounds_.size(); ++link)
    bounds_[link].capacity = units_of(paths.capacity[link], [](double x) { return std::floor(x); });
  for (Parting& parting : partings_) parting.part_of_hop.reserve(paths.hops.size());
  auto const wider = [&](std::uint32_t a, std::uint32_t b) { return paths.capacity[a] < paths.capacity[b]; };
  for (std::uint32_t flow = 0; flow < paths.num_flows(); ++flow) {
    auto const links = paths.links_of(flow);
    std::uint32_t const first = *std::min_element(links.begin(), links.end(), wider);
    std::uint32_t const last = *std::min_element(links.rbegin(), links.rend(), wider);
    for (std::uint32_t const link : links) {
      assign(partings_[0], flow, link, first);
      assign(partings_[1], flow, link, last);
    }
  }
}

void BindingLinks::change(std::uint32_t flow, std::int64_t by) {
  for (std::size_t p = 0; p < partings_.size(); ++p)
    for (std::uint32_t hop = paths_.first_hop[flow]; hop < paths_.first_hop[flow + 1]; ++hop) {
      Part& part = partings_[p].parts[partings_[p].part_of_hop[hop]];
      std::int64_t const before = part.units();
      part.flows += by;
      bounds_[part.link].units[p] += part.units() - before;
    }
}

}  // namespace switchyard::sim
