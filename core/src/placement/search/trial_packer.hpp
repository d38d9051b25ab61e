// SPDX-License-Identifier: Apache-2.0
/// TrialPacker: the largest rank value that packing some replica counts would give, and their neighbours'.
#pragma once

#include <cstddef>
#include <vector>

#include "cluster.hpp"
#include "slot_figures.hpp"

namespace switchyard::placement {

/// Packs heaviest replicas first onto the lightest rank with a free slot, the lower rank on a tie, as pack() does, but
/// without looking for duplicates.
class TrialPacker {
 public:
  TrialPacker(Cluster const& cluster, SlotFigures& figures);

  /// Packs these counts; variants are packed from here. @param replicas [experts] @return the largest rank value.
  double pack_base(std::vector<std::size_t> const& replicas);
  /// The experts of the base's hottest rank, the lowest such rank, by order of arrival.
  [[nodiscard]] std::vector<std::size_t> const& hot_experts() const { return hot_experts_; }
  /// @return the largest rank value when `gains` has one replica more than in the base and `gives` one less; infinity
  ///         as soon as it is known not to be below `limit`. @pre two different experts; `gives` has two replicas.
  double pack_variant(std::size_t gains, std::size_t gives, double limit);

 private:
  /// All replicas of an expert: they weigh the same and follow each other.
  struct Item {
    double figure;
    std::size_t expert;
    std::size_t replicas;
  };
  struct Entry {
    double value;
    std::size_t rank;
    /// The lower rank on a tie.
    [[nodiscard]] bool is_lighter_than(Entry const& other) const {
      return value < other.value || (value == other.value && rank < other.rank);
    }
  };
  struct Placed {
    std::size_t rank;
    std::size_t expert;
  };

  static bool comes_first(Item const& a, Item const& b);
  [[nodiscard]] Item item(std::size_t expert, std::size_t replicas);
  double pack(std::vector<Item> const& items, double limit);
  void sink_top();
  void note_hot_experts();

  Cluster const& cluster_;
  SlotFigures& figures_;
  std::vector<Entry> start_{};       // [live ranks] without replicas, lightest first
  std::vector<Entry> heap_{};        // ranks with room, the lightest on top
  std::vector<double> sum_{};        // [ranks]
  std::vector<std::size_t> room_{};  // [ranks]
  std::vector<Placed> placed_{};
  std::vector<Item> base_{};     // heaviest first
  std::vector<Item> variant_{};  // the same
  std::vector<std::size_t> base_replicas_{};
  std::vector<std::size_t> hot_experts_{};
};

}  // namespace switchyard::placement
