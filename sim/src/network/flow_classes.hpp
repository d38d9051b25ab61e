// SPDX-License-Identifier: Apache-2.0
/// FlowClasses: active flows by the links that can bind them. Flows of a class have one rate, and classes that share no
/// link are filled apart, so an event costs what the classes of its island cost.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

#include "network/binding_links.hpp"
#include "network/class_islands.hpp"
#include "network/flow_paths.hpp"
#include "network/number_table.hpp"

namespace switchyard::sim {

/// A flow that has sent its last byte at `us`, at `rate`.
struct EndedFlow {
  std::uint32_t flow = 0;
  double us = 0;
  double rate = 0;
};

/// Every island goes from end to end of its own flows and knows until when its bytes are counted. Islands only fall
/// apart while flows end: what joins them are starts.
class FlowClasses {
 public:
  explicit FlowClasses(FlowPaths const& paths);

  [[nodiscard]] bool empty() const noexcept { return num_active_ == 0; }
  /// @param bytes above 0. It sends from the next settle() on.
  void start(std::uint32_t flow, double bytes);
  /// Regroups what starts and ends have changed and fills the islands concerned, from `now_us` on, or from where they
  /// are if that is later.
  void settle(double now_us);
  /// @return when the first flow ends; infinity when none is active. Rates must be settled.
  [[nodiscard]] double first_end_us();
  /// Ends the flows of one island with the first end of all, up to `window_us` after it. Together they leave their
  /// links at the mean of these ends, weighted by rate, so that what the early ones hold too long is what the late ones
  /// lack.
  /// @return that time, to which the island is taken.
  double end_first(double window_us, std::vector<EndedFlow>& ended);
  /// @return what an active flow has still to send at `now_us`. For flows that move to another object.
  [[nodiscard]] double bytes_left(std::uint32_t flow, double now_us) const;

 private:
  /// A flow ends when its class has sent so much to each of its flows.
  struct End {
    double sent = 0;
    std::uint32_t flow = 0;
  };
  struct IslandEnd {
    double us = 0;
    std::uint32_t island = 0, version = 0;
    friend bool operator<(IslandEnd const& a, IslandEnd const& b) noexcept {
      return a.us != b.us ? a.us > b.us : a.island > b.island;
    }
  };
  static bool later(End const& a, End const& b) noexcept {
    return a.sent != b.sent ? a.sent > b.sent : a.flow > b.flow;
  }

  void touch(std::uint32_t flow);
  void find_moved_flows(double now_us);
  void dirty(std::uint32_t island, double now_us);
  void bring_up(std::uint32_t island, double us);
  void move(std::uint32_t flow, double now_us);
  void join(std::uint32_t flow, double bytes, double now_us);
  [[nodiscard]] std::uint32_t class_for(std::uint32_t flow);
  void find_next(std::uint32_t number);
  void end_flows_of(std::uint32_t number, double closes_us, std::vector<EndedFlow>& ended);
  void regroup(std::uint32_t island);
  void fill(std::uint32_t island);

  FlowPaths const& paths_;
  BindingLinks binding_;
  ClassIslands islands_;
  std::priority_queue<IslandEnd> first_ends_;
  std::vector<std::uint32_t> dirty_, parts_;
  std::vector<std::uint32_t> left_;     // classes that flows have left without an end
  std::vector<std::vector<End>> ends_;  // [classes] heaps, earliest first; a flow that left stays until it comes up
  NumberTable class_table_;

  std::vector<std::uint32_t> class_of_;  // [flows] kNone unless active
  std::vector<double> end_sent_;         // [flows] as End::sent
  std::size_t num_active_ = 0;
  std::vector<std::uint32_t> first_flow_, flows_of_link_;

  std::vector<std::uint8_t> binds_, touched_;  // [links]
  std::vector<std::uint32_t> touched_links_, moved_, key_, islands_here_;
  std::vector<std::uint8_t> is_moved_;  // [flows]
};

}  // namespace switchyard::sim
