// SPDX-License-Identifier: Apache-2.0
/// ClassIslands: classes of flows, and which of them share binding links, directly or through others.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "network/water_fill.hpp"

namespace switchyard::sim {

/// Flows that cross the same binding links and have the same limit.
struct FlowClass {
  std::uint32_t first_link = 0, num_links = 0;
  std::uint32_t island = std::numeric_limits<std::uint32_t>::max();
  std::uint32_t place = 0;  ///< there
  std::int32_t flows = 0;
  double limit = 0;
  bool left = false;  ///< a flow has left without an end
};

/// Rates on one island depend on nothing outside it, so every island has a clock of its own.
struct Island {
  std::vector<std::uint32_t> links{}, classes{};
  std::vector<double> sent{};    ///< [classes] to each flow, since the class was last empty, up to the clock
  std::vector<double> rate{};    ///< [classes]
  std::vector<double> next{};    ///< [classes] `sent` when the flow that ends first ends; infinity without flows
  std::vector<double> end_us{};  ///< [classes] when that is
  WaterFill water{};             ///< of the classes when they were last gathered
  double at_us = 0;              ///< bytes are counted up to here
  double first_end_us = std::numeric_limits<double>::infinity();
  std::uint32_t version = 0;  ///< of first_end_us
  std::uint32_t idle = 0;     ///< classes that have lost their last flow
  bool dirty = false;         ///< rates are those of other flows
  bool grown = false;         ///< classes or links have joined since the classes were gathered
  bool loose = false;         ///< a link has ceased to bind: the rest may fall apart
};

/// Numbers of islands are used again; a class without links is an island of its own.
class ClassIslands {
 public:
  static constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

  explicit ClassIslands(std::span<double const> capacity)
      : capacity_(capacity), of_link_(capacity.size(), kNone), local_(capacity.size()) {}

  [[nodiscard]] Island& operator[](std::uint32_t island) noexcept { return islands_[island]; }
  [[nodiscard]] Island const& operator[](std::uint32_t island) const noexcept { return islands_[island]; }
  [[nodiscard]] std::uint32_t of_link(std::uint32_t link) const noexcept { return of_link_[link]; }
  [[nodiscard]] FlowClass& class_at(std::uint32_t number) noexcept { return classes_[number]; }
  [[nodiscard]] FlowClass const& class_at(std::uint32_t number) const noexcept { return classes_[number]; }
  [[nodiscard]] std::uint32_t num_classes() const noexcept { return static_cast<std::uint32_t>(classes_.size()); }
  [[nodiscard]] std::span<std::uint32_t const> links_of(FlowClass const& one) const noexcept {
    return std::span(links_).subspan(one.first_link, one.num_links);
  }
  [[nodiscard]] double sent_by(FlowClass const& one) const noexcept { return islands_[one.island].sent[one.place]; }
  [[nodiscard]] double& next_of(FlowClass const& one) noexcept { return islands_[one.island].next[one.place]; }

  /// @return its number; it has no flows and is on no island.
  std::uint32_t add_class(std::span<std::uint32_t const> links, double limit);
  /// Makes one island of the class's and those of its links, whose clocks must agree; that of a new one begins at
  /// `at_us`. Then adds a flow. @return the island.
  std::uint32_t add_flow(std::uint32_t number, double at_us);
  void remove_flow(std::uint32_t number);
  /// Gathers the classes that have flows, if any have come or many gone, and cuts an island that has fallen apart.
  /// @param parts gets the islands that are left of it, with its clock. Numbers without classes are free again.
  void regroup(std::uint32_t island, std::vector<std::uint32_t>& parts);

 private:
  [[nodiscard]] std::uint32_t fresh(double at_us);
  void put(std::uint32_t island, std::uint32_t number, double sent, double next);
  void absorb(std::uint32_t into, std::uint32_t from);
  [[nodiscard]] std::uint32_t unite(std::uint32_t number, double at_us);
  void gather(std::uint32_t island);
  void compile(Island& island);
  void split(std::uint32_t island, std::vector<std::uint32_t>& parts);
  /// Empties an island; what was known of it is out of date.
  void renew(std::uint32_t island);
  void release(std::uint32_t island);

  std::span<double const> capacity_;
  std::vector<FlowClass> classes_;
  std::vector<std::uint32_t> links_;  // of all classes, one after the other
  std::vector<Island> islands_;
  std::vector<std::uint32_t> free_;
  std::vector<std::uint32_t> of_link_;
  std::vector<std::uint32_t> local_;  // [links] their numbers on the island at hand
  struct {
    std::vector<double> capacity;
    std::vector<FillItem> items;
    std::vector<std::uint32_t> links;
  } problem_{};  // of the island at hand: kept for its memory
};

}  // namespace switchyard::sim
