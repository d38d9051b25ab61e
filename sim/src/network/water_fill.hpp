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
  std::int32_t flows = 0;  ///< at least 1
  double limit = 0;        ///< of one flow, bytes per us; infinity where a link binds for certain
};

class WaterFill {
 public:
  explicit WaterFill(std::vector<double> capacity);

  /// Every flow gets as much as the flow next to it at its narrowest link, unless its own limit is lower: no rate can
  /// grow without taking from a flow that has no more, so no link idles that a flow waits for.
  /// @param links of all items. @param rates [items] of one flow, bytes per us.
  /// O(hops + links log links); ties go to the lower link, so rates have equal bits on every machine.
  void fill(std::span<FillItem const> items, std::span<std::uint32_t const> links, std::span<double> rates);

 private:
  struct LinkShare {
    double share;
    std::uint32_t link;
  };
  void load();
  void freeze(std::uint32_t item, double at);
  void freeze_link(std::uint32_t link, double share);
  void freeze_narrow_items(double below);
  [[nodiscard]] std::span<std::uint32_t const> links_of(FillItem const& item) const noexcept {
    return links_.subspan(item.first_link, item.num_links);
  }
  [[nodiscard]] double share_of(std::uint32_t link) const noexcept { return left_[link] / waiting_[link]; }

  std::vector<double> capacity_;
  std::span<FillItem const> items_;
  std::span<std::uint32_t const> links_;
  std::span<double> rates_;

  std::vector<double> left_;                           // [links] capacity that frozen flows have not taken
  std::vector<std::int32_t> waiting_;                  // [links] flows that are not frozen
  std::vector<std::uint32_t> first_item_, next_item_;  // [links + 1] into items_of_link_
  std::vector<std::uint32_t> items_of_link_;
  std::vector<std::uint8_t> frozen_;     // [items]
  std::vector<std::uint32_t> by_limit_;  // items with a limit, narrowest first
  std::size_t next_limit_ = 0;
  std::vector<LinkShare> heap_;
};

}  // namespace switchyard::sim
