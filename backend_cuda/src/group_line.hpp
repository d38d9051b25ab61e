// SPDX-License-Identifier: Apache-2.0
/// The line that says on what a group runs, made of what its ranks said. Needs neither CUDA nor NCCL.
#pragma once

#include <string>
#include <vector>

#include "switchyard/cuda/system.hpp"

namespace switchyard::cuda {

/// One rank's process and device.
struct RankPlace {
  std::string host{};
  std::string device{};  ///< its name
  std::string bus{};     ///< its PCI address, which no other device of the host has
  friend bool operator==(RankPlace const&, RankPlace const&) = default;
};

/// @param report of one rank: versions, and links between the devices it sees. @param ranks of all. Pure.
[[nodiscard]] std::string group_line(SystemReport const& report, std::vector<RankPlace> const& ranks);

/// A rank's place as bytes of fixed size, so that ranks know how much they receive; long names are cut.
inline constexpr std::size_t kPlaceBytes = 256;
[[nodiscard]] std::vector<std::byte> bytes_of(RankPlace const& place);
[[nodiscard]] RankPlace place_of(std::byte const* bytes);

}  // namespace switchyard::cuda
