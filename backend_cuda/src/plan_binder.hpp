// SPDX-License-Identifier: Apache-2.0
/// DevicePlanner::State::Binder: which list of a plan lies where on the device.
#pragma once

#include <utility>
#include <vector>

#include "device_planner_state.hpp"

namespace switchyard::cuda {

/// Collects the lists of a plan's stages, field numbers ascending.
class DevicePlanner::State::Binder {
 public:
  using Vector = std::vector<std::int64_t>;

  explicit Binder(std::vector<BoundList>& lists) : lists_(lists) {}

  void start_stage(std::uint32_t field) { field_ = field; }
  void fixed(DeviceBuffer const& values, Vector& target) {
    auto const count = values.size_bytes() / static_cast<std::int64_t>(sizeof(std::int64_t));
    add({0, -1, count, count, values.as<std::int64_t const>()}, &target, nullptr);
  }
  void number(std::int64_t const* value, std::int64_t* target) { add({0, -1, 1, 1, value}, nullptr, target); }
  /// A list that is a stage's numbers, which follow each other in memory.
  void numbers(DeviceBuffer const& values, std::int64_t* first) {
    auto const count = values.size_bytes() / static_cast<std::int64_t>(sizeof(std::int64_t));
    add({0, -1, count, count, values.as<std::int64_t const>()}, nullptr, first);
  }
  void gather(SortMemory const& memory, PlanNumber rows, PlanNumber inputs, RowGather& target) {
    auto const begins = memory.lists.input_begin.size_bytes() / static_cast<std::int64_t>(sizeof(std::int64_t));
    DeviceGather const device = memory.lists.gather();
    add({0, rows, 0, memory.max_rows, device.token_of_row}, &target.token_of_row, nullptr);
    if (rows == kPlanSentRows)
      empty(target.slot_of_row);
    else
      add({0, rows, 0, memory.max_rows, device.slot_of_row}, &target.slot_of_row, nullptr);
    add({0, inputs, 1, begins, device.row_begin}, &target.row_begin, nullptr);
    add({0, rows, 0, memory.max_rows, device.rows_of_token}, &target.rows_of_token, nullptr);
  }
  /// `length` entries, of which numbers[count_at] are the plan's, and one more where `extra` is 1.
  void list(DeviceBuffer const& values, PlanNumber count_at, std::int64_t extra, Vector& target) {
    auto const length = values.size_bytes() / static_cast<std::int64_t>(sizeof(std::int64_t));
    add({0, count_at, extra, length, values.as<std::int64_t const>()}, &target, nullptr);
  }
  void empty(Vector& target) { add({0, -1, 0, 0, nullptr}, &target, nullptr); }
  void plain(std::uint32_t field, DeviceBuffer const& values, Vector& target) {
    start_stage(field - 1);
    fixed(values, target);
  }

 private:
  void add(PlanList list, Vector* target, std::int64_t* scalar) {
    list.field = ++field_;
    lists_.push_back({list, target, scalar});
  }
  std::vector<BoundList>& lists_;
  std::uint32_t field_ = 0;
};

}  // namespace switchyard::cuda
