// SPDX-License-Identifier: Apache-2.0
/// PlannerGroup: the device planners of all ranks of a case on one GPU; what ranks exchange is copied between them.
#pragma once

#include <cuda_runtime_api.h>

#include <vector>

#include "cuda_planner_cases.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/device_planner.hpp"

namespace cross_backend {

/// A routing on the device.
struct UploadedRouting {
  UploadedRouting(RoutingMap const& routing, cuda::StreamView stream)
      : ids(cuda::upload(std::vector<std::int32_t>(routing.ids().begin(), routing.ids().end()), stream)),
        map(cuda::upload(std::vector<std::uint8_t>(routing.map().begin(), routing.map().end()), stream)),
        weights(cuda::upload(std::vector<float>(routing.weights().begin(), routing.weights().end()), stream)),
        tokens(routing.num_tokens()),
        is_dense(routing.form() == RoutingForm::dense) {}
  [[nodiscard]] cuda::DeviceRouting view() const {
    return {is_dense ? nullptr : ids.as<std::int32_t const>(), is_dense ? map.as<std::uint8_t const>() : nullptr,
            weights.as<float const>(), tokens};
  }
  /// Another routing of as many tokens at the same places.
  void replace(RoutingMap const& routing, cuda::StreamView stream) const {
    UploadedRouting const next(routing, stream);
    cuda::copy_device(next.ids, ids, stream);
    cuda::copy_device(next.map, map, stream);
    cuda::copy_device(next.weights, weights, stream);
    stream.synchronize();
  }

  cuda::DeviceBuffer ids;
  cuda::DeviceBuffer map;
  cuda::DeviceBuffer weights;
  std::int64_t tokens;
  bool is_dense;
};

struct PlannerGroup {
  PlannerGroup(PlannerCase const& run, std::vector<RoutingMap> const& routings, ExpertPlacement const& placement) {
    for (std::size_t rank = 0; rank < routings.size(); ++rank) {
      planners.emplace_back(run.config, RankId{static_cast<std::int32_t>(rank)}, placement, run.layer);
      inputs.emplace_back(routings[rank], stream);
    }
    fingerprints = cuda::DeviceBuffer(static_cast<std::int64_t>(routings.size() * sizeof(std::uint64_t)));
    cuda::fill_bytes(fingerprints, 0xee, stream);
  }
  void replace(std::vector<RoutingMap> const& routings) const {
    for (std::size_t rank = 0; rank < routings.size(); ++rank) inputs[rank].replace(routings[rank], stream);
  }
  void step() {
    for (std::size_t rank = 0; rank < planners.size(); ++rank) planners[rank].assign(inputs[rank].view(), stream);
    for (auto& to : planners)
      for (std::size_t from = 0; from < planners.size(); ++from) {
        auto const bytes = static_cast<std::size_t>(to.announcement_bytes());
        if (&planners[from] == &to) continue;
        static_cast<void>(cudaMemcpyAsync(static_cast<std::byte*>(to.announcements()) + from * bytes,
                                          planners[from].announcement(), bytes, cudaMemcpyDeviceToDevice,
                                          stream.view().handle()));
      }
    for (std::size_t rank = 0; rank < planners.size(); ++rank) {
      planners[rank].plan(stream);
      planners[rank].fingerprint(fingerprints.as<std::uint64_t>() + rank, stream);
    }
  }
  /// What kernels made of the last plans, by rank.
  [[nodiscard]] std::vector<std::uint64_t> digests() const {
    return cuda::download<std::uint64_t>(fingerprints, stream);
  }

  cuda::Stream stream;
  std::vector<cuda::DevicePlanner> planners;
  std::vector<UploadedRouting> inputs;
  cuda::DeviceBuffer fingerprints;
};

inline std::vector<RoutingMap> draw_routings(PlannerCase const& run) {
  std::vector<RoutingMap> routings;
  for (int rank = 0; rank < run.config.grid.world(); ++rank) routings.push_back(draw_routing(run, rank));
  return routings;
}

}  // namespace cross_backend
