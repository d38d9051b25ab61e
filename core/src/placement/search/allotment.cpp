// SPDX-License-Identifier: Apache-2.0
#include "allotment.hpp"

namespace switchyard::placement {

MoveAllotment::MoveAllotment(std::span<IncrementalLayer const> layers, std::vector<std::int32_t> last)
    : layers_(layers), last_(std::move(last)) {
  for (std::size_t layer = 0; layer < layers.size(); ++layer) {
    point_.layer_points.push_back(0);
    point_.moves += at(layer, 0).moves;
    point_.total_figure += at(layer, 0).max_figure;
  }
}

CurvePoint const& MoveAllotment::at(std::size_t layer, std::int32_t index) const {
  return layers_[layer].curve[static_cast<std::size_t>(index)];
}

double MoveAllotment::steepness(std::size_t layer, std::int32_t from, std::int32_t to) const {
  return (at(layer, from).max_figure - at(layer, to).max_figure) /
         static_cast<double>(at(layer, to).moves - at(layer, from).moves);
}

std::int32_t MoveAllotment::next_corner(std::size_t layer, std::int32_t from, std::int64_t max_added) const {
  std::int32_t best = from;
  for (std::int32_t to = from + 1; to <= last_[layer]; ++to) {
    bool const fits = at(layer, to).moves - at(layer, from).moves <= max_added;
    if (fits && (best == from || steepness(layer, from, to) >= steepness(layer, from, best))) {
      best = to;
    }
  }
  return best;
}

bool MoveAllotment::advance(std::int64_t max_moves) {
  std::size_t best_layer = layers_.size();
  std::int32_t best_corner = 0;
  double best_steepness = 0;
  for (std::size_t layer = 0; layer < layers_.size(); ++layer) {
    std::int32_t const from = point_.layer_points[layer];
    std::int32_t const corner = next_corner(layer, from, max_moves - point_.moves);
    double const fall = corner == from ? 0 : steepness(layer, from, corner);
    if (fall > best_steepness) {
      best_layer = layer;
      best_corner = corner;
      best_steepness = fall;
    }
  }
  if (best_layer == layers_.size()) {
    return false;
  }
  auto& current = point_.layer_points[best_layer];
  point_.moves += at(best_layer, best_corner).moves - at(best_layer, current).moves;
  point_.total_figure += at(best_layer, best_corner).max_figure - at(best_layer, current).max_figure;
  current = best_corner;
  return true;
}

}  // namespace switchyard::placement
