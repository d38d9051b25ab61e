// SPDX-License-Identifier: Apache-2.0
/// FlowClasses: active flows by the links that can bind them. Flows of a class have one rate, so a fill and an event
/// cost what classes cost, not flows.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "network/binding_links.hpp"
#include "network/flow_paths.hpp"
#include "network/number_table.hpp"
#include "network/water_fill.hpp"

namespace switchyard::sim {

/// A flow that has sent its last byte `us` after now, at `rate`.
struct EndedFlow {
  std::uint32_t flow = 0;
  double us = 0;
  double rate = 0;
};

/// Time stands still between advance() calls; rates are those of the last settle().
class FlowClasses {
 public:
  explicit FlowClasses(FlowPaths const& paths);

  [[nodiscard]] bool empty() const noexcept { return num_active_ == 0; }
  /// @param bytes above 0.
  void start(std::uint32_t flow, double bytes);
  /// Regroups what starts and ends have changed and fills: O(hops of classes), and of flows on links that have come to
  /// bind or ceased to.
  void settle();
  /// @return when the first flow ends, from now; infinity when none is active.
  [[nodiscard]] double first_end_us() const noexcept { return first_end_us_; }
  /// Ends the flows that have sent everything `us` from now, classes in order. @return the last of these ends.
  double end_within(double us, std::vector<EndedFlow>& ended);
  void advance(double us);
  /// @return what an active flow has still to send; rates must be settled. For flows that move to another object.
  [[nodiscard]] double bytes_left(std::uint32_t flow) const;

 private:
  /// A flow ends when its class has sent so much to each of its flows.
  struct End {
    double sent = 0;
    std::uint32_t flow = 0;
  };
  struct Class {
    double sent = 0;  ///< to each flow, since the class was last empty
    double rate = 0;
    double next = 0;  ///< End::sent of the flow that ends first
    double limit = 0;
    std::uint32_t first_link = 0, num_links = 0;
    std::int32_t flows = 0;
    bool live = false;
    bool left = false;  ///< a flow has left without an end
  };
  static bool later(End const& a, End const& b) noexcept {
    return a.sent != b.sent ? a.sent > b.sent : a.flow > b.flow;
  }

  void touch(std::uint32_t flow);
  void find_moved_flows();
  void move(std::uint32_t flow);
  void join(std::uint32_t flow, double bytes);
  void leave(std::uint32_t flow);
  [[nodiscard]] std::uint32_t class_for(std::uint32_t flow);
  void find_next(std::uint32_t number);
  void drop_empty_classes();
  void fill();

  FlowPaths const& paths_;
  BindingLinks binding_;
  WaterFill water_;

  std::vector<Class> classes_;
  std::vector<std::vector<End>> ends_;      // [classes] heaps, earliest first; a flow that left stays until it comes up
  std::vector<std::uint32_t> class_links_;  // of all classes, one after the other
  NumberTable class_table_;
  std::vector<std::uint32_t> live_;  // classes with flows, as of the last settle()

  std::vector<std::uint32_t> class_of_;  // [flows] kNone unless active
  std::vector<double> end_sent_;         // [flows] as End::sent
  std::size_t num_active_ = 0;
  double first_end_us_ = 0;
  std::vector<std::uint32_t> first_flow_, flows_of_link_;

  std::vector<std::uint8_t> binds_, touched_;  // [links]
  std::vector<std::uint32_t> touched_links_, moved_, key_;
  std::vector<std::uint8_t> is_moved_;  // [flows]
  std::vector<FillItem> items_;
  std::vector<double> rates_;
};

}  // namespace switchyard::sim
