// SPDX-License-Identifier: Apache-2.0
/// WaterFill: max-min fair rates of weighted classes of flows over shared links, by progressive filling.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace switchyard::sim {

/// Flows that cross the same links and have the same limit: they have the same rate.
struct FillItem {
  std::uint32_t first_link = 0;  ///< in the list of links
  std::uint32_t num_links = 0;
  std::int32_t flows = 0;
  double limit = 0;  ///< of one flow, bytes per us; infinity where a link binds for certain
};

/// Items and links stay, flows come and go between fills.
class WaterFill {
 public:
  /// Begins anew, in the memory it has. @param links of all items, into `capacity`.
  void reset(std::span<double const> capacity, std::span<FillItem const> items, std::span<std::uint32_t const> links);

  void add_flow(std::uint32_t item) { change_flows(item, 1); }
  void remove_flow(std::uint32_t item) { change_flows(item, -1); }

  [[nodiscard]] std::size_t num_links() const noexcept { return capacity_.size(); }
  [[nodiscard]] std::span<std::uint32_t const> links_of(std::uint32_t item) const noexcept {
    return std::span(links_).subspan(items_[item].first_link, items_[item].num_links);
  }
  template <typename Visit>
  void for_each_item_on(std::uint32_t link, Visit const& visit) const {
    for (std::uint32_t i = first_hop_[link]; i < first_hop_[link + 1]; ++i) visit(hops_[i].item);
  }

  /// Every flow gets as much as the flow next to it at its narrowest link, unless its own limit is lower: no rate can
  /// grow without taking from a flow that has no more, so no link idles that a flow waits for.
  /// @param rates [items] of one flow, bytes per us; of items without flows any number.
  /// O(64 hops) at worst; ties go to the lower link, so rates have equal bits on every machine.
  void fill(std::span<double> rates);

 private:
  /// An item on a link, and its one other link, itself if it has none, kMany if it has more.
  struct Hop {
    std::uint32_t item, other;
  };
  struct Load {
    double left = 0;     ///< capacity that frozen flows have not taken
    double waiting = 0;  ///< flows that are not frozen
  };
  static constexpr std::uint32_t kMany = 0xffffffff;
  static constexpr std::size_t kBlock = 64;

  void list_hops();
  void change_flows(std::uint32_t item, double by);
  void load();
  [[nodiscard]] std::uint32_t least();
  void scan(std::size_t block);
  void take(std::uint32_t link, double at, double flows);
  void freeze(std::uint32_t item, double at);
  void freeze_link(std::uint32_t link, double at);
  [[nodiscard]] bool freeze_narrow_items(double below);

  std::vector<double> capacity_{};
  std::vector<FillItem> items_{};
  std::vector<std::uint32_t> links_{};
  std::vector<std::uint32_t> by_limit_{};   // items with a limit, narrowest first
  std::vector<double> flows_of_{};          // [items]
  std::vector<double> flows_on_{};          // [links]
  std::vector<std::uint32_t> first_hop_{};  // [links + 1] into hops_
  std::vector<std::uint32_t> next_hop_{};   // [links] while they are listed
  std::vector<Hop> hops_{};

  std::span<double> rates_{};
  std::vector<Load> loads_{};             // [links]
  std::vector<double> share_{};           // [links] of a waiting flow; infinity where none waits
  std::vector<std::uint8_t> frozen_{};    // [items]
  std::vector<double> least_of_block_{};  // no share of these links is lower, and one has it unless stale
  std::vector<std::uint8_t> stale_{};     // [blocks]
  std::size_t next_limit_ = 0;
};

}  // namespace switchyard::sim
