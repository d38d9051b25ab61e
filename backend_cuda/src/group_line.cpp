// SPDX-License-Identifier: Apache-2.0
#include "group_line.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "switchyard/types/version.hpp"
#include "versions.hpp"

namespace switchyard::cuda {
namespace {

constexpr std::size_t kHostBytes = 96;
constexpr std::size_t kBusBytes = 32;
constexpr std::size_t kDeviceBytes = kPlaceBytes - kHostBytes - kBusBytes;

/// How two ranks reach each other; the order is that of the line.
enum class Link { nvlink, peer, host, unseen, same_device, network };
constexpr std::array<char const*, 6> kLinkNames = {
    "NVLink",         "PCIe peer access", "host memory", "unknown (one host, devices not visible to one process)",
    "one shared GPU", "network"};

SystemReport::Peer const* find_peer(SystemReport const& report, std::string const& from, std::string const& to) {
  auto const is_between = [&](SystemReport::Peer const& peer) {
    return report.devices[static_cast<std::size_t>(peer.from)].bus == from &&
           report.devices[static_cast<std::size_t>(peer.to)].bus == to;
  };
  auto const found = std::find_if(report.peers.begin(), report.peers.end(), is_between);
  return found == report.peers.end() ? nullptr : &*found;
}

Link link_between(SystemReport const& report, RankPlace const& a, RankPlace const& b) {
  if (a.host != b.host) return Link::network;
  if (a.bus == b.bus) return Link::same_device;
  auto const* const peer = find_peer(report, a.bus, b.bus);
  if (peer == nullptr) return Link::unseen;
  if (!peer->direct) return Link::host;
  return peer->native_atomics ? Link::nvlink : Link::peer;
}

std::string links_text(SystemReport const& report, std::vector<RankPlace> const& ranks) {
  std::array<int, kLinkNames.size()> pairs{};
  for (std::size_t a = 0; a < ranks.size(); ++a)
    for (std::size_t b = a + 1; b < ranks.size(); ++b)
      ++pairs[static_cast<std::size_t>(link_between(report, ranks[a], ranks[b]))];
  auto const kinds = pairs.size() - static_cast<std::size_t>(std::count(pairs.begin(), pairs.end(), 0));
  std::string text;
  for (std::size_t kind = 0; kind < pairs.size(); ++kind) {
    if (pairs[kind] == 0) continue;
    if (kinds == 1) return fmt::format("{} between all", kLinkNames[kind]);
    text += fmt::format("{}{} between {} pairs", text.empty() ? "" : ", ", kLinkNames[kind], pairs[kind]);
  }
  return text.empty() ? "none" : text;
}

/// Neighbours on one host with devices of one kind are named together.
std::string places_text(std::vector<RankPlace> const& ranks) {
  std::string text;
  for (std::size_t begin = 0; begin < ranks.size();) {
    std::size_t end = begin;
    std::string buses;
    while (end < ranks.size() && ranks[end].host == ranks[begin].host && ranks[end].device == ranks[begin].device)
      buses += ' ' + ranks[end++].bus;
    std::string const numbers =
        end - begin == 1 ? fmt::format("rank {}", begin) : fmt::format("ranks {}-{}", begin, end - 1);
    text += fmt::format("{}{} on {}: {} at{}", begin == 0 ? "" : "; ", numbers, ranks[begin].host, ranks[begin].device,
                        buses);
    begin = end;
  }
  return text;
}

std::string nccl_text(SystemReport const& report) {
  if (!report.has_nccl) return "no NCCL";
  return fmt::format("NCCL {} (built with {})", nccl_version_text(report.nccl_loaded),
                     nccl_version_text(report.nccl_built));
}

void put(std::vector<std::byte>& bytes, std::string const& text, std::size_t size) {
  std::size_t const begin = bytes.size();
  bytes.resize(begin + size);
  std::memcpy(bytes.data() + begin, text.data(), std::min(text.size(), size - 1));
}

std::string text_at(std::byte const* bytes, std::size_t size) {
  auto const* const text = reinterpret_cast<char const*>(bytes);
  return {text, static_cast<std::size_t>(std::find(text, text + size, '\0') - text)};
}

}  // namespace

std::string group_line(SystemReport const& report, std::vector<RankPlace> const& ranks) {
  return fmt::format("switchyard {}, CUDA {}, driver for CUDA {}, {}; {}; links: {}", SWITCHYARD_VERSION_STRING,
                     cuda_version_text(report.runtime_version), cuda_version_text(report.driver_version),
                     nccl_text(report), places_text(ranks), links_text(report, ranks));
}

std::vector<std::byte> bytes_of(RankPlace const& place) {
  std::vector<std::byte> bytes;
  put(bytes, place.host, kHostBytes);
  put(bytes, place.bus, kBusBytes);
  put(bytes, place.device, kDeviceBytes);
  return bytes;
}

RankPlace place_of(std::byte const* bytes) {
  return {text_at(bytes, kHostBytes), text_at(bytes + kHostBytes + kBusBytes, kDeviceBytes),
          text_at(bytes + kHostBytes, kBusBytes)};
}

}  // namespace switchyard::cuda
