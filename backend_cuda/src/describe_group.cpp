// SPDX-License-Identifier: Apache-2.0
// What rank 0 prints first: the ranks tell each other where they are.
#include <cuda_runtime_api.h>

#include "cuda_error.hpp"
#include "group_line.hpp"
#include "switchyard/comm/communicator.hpp"
#include "switchyard/launch/launch_config.hpp"
#include "system_probe.hpp"

namespace switchyard::cuda {
namespace {

RankPlace own_place() {
  int device = 0;
  cudaDeviceProp properties{};
  SWITCHYARD_CUDA_TRY(cudaGetDevice(&device));
  SWITCHYARD_CUDA_TRY(cudaGetDeviceProperties(&properties, device));
  return {launch::this_host(), properties.name, bus_of(device)};
}

}  // namespace

std::string describe_group(Communicator& comm) {
  auto const ranks = static_cast<std::size_t>(comm.size());
  std::vector<std::byte> all(ranks * kPlaceBytes);
  std::vector<std::int64_t> const sizes(ranks, static_cast<std::int64_t>(kPlaceBytes));
  comm.all_gather_v(bytes_of(own_place()), all, sizes, {.operation = "describe group"});
  std::vector<RankPlace> places;
  for (std::size_t rank = 0; rank < ranks; ++rank) places.push_back(place_of(all.data() + rank * kPlaceBytes));
  return group_line(report_without_code(), places);
}

}  // namespace switchyard::cuda
