// SPDX-License-Identifier: Apache-2.0
/// One rank's expert rows in host and in device memory, moved by both backends and compared byte by byte.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "pair_report.hpp"
#include "switchyard/cpu/schedule_executor.hpp"
#include "switchyard/cuda/device_buffer.hpp"
#include "switchyard/cuda/rebalance.hpp"
#include "switchyard/rebalance/schedule_planner.hpp"
#include "switchyard/rebalance/weight_tag.hpp"

namespace cross_backend {

using namespace switchyard;  // NOLINT(google-build-using-namespace): a test's own namespace

/// How a rebalance is carried out.
enum class Way { buffered, in_place, stepwise, profile };
inline constexpr Way kWays[] = {Way::buffered, Way::in_place, Way::stepwise, Way::profile};
inline char const* name_of(Way way) {
  constexpr char const* kNames[] = {"buffered", "in place", "layer by layer", "profile"};
  return kNames[static_cast<int>(way)];
}

/// Two tensors per layer, the second of odd size, so that its rows start at odd addresses; layers differ in size.
/// Padding and empty rows are poisoned.
class RankRows {
 public:
  RankRows(ExpertPlacement const& placement, RankId rank) : placement_(placement), rank_(rank) {
    bytes_.assign(static_cast<std::size_t>(place_of(placement.num_layers(), 0, 0)), std::byte{0xA5});
    for (int layer = 0; layer < placement.num_layers(); ++layer)
      for (int tensor = 0; tensor < 2; ++tensor) fill(layer, tensor);
  }

  [[nodiscard]] std::vector<std::byte> const& bytes() const { return bytes_; }
  /// The rows as they lie in memory that starts at `base`.
  [[nodiscard]] RegisteredWeights at(std::byte* base) const {
    std::vector<std::vector<WeightTensor>> layers;
    for (int layer = 0; layer < placement_.num_layers(); ++layer) {
      auto& tensors = layers.emplace_back();
      for (int t = 0; t < 2; ++t)
        tensors.push_back({base + place_of(layer, t, 0), row_bytes(layer, t), row_bytes(layer, t) + kPadding, rows()});
    }
    return RegisteredWeights(std::move(layers));
  }

 private:
  static constexpr std::int64_t kPadding = 5;

  [[nodiscard]] static std::int64_t row_bytes(int layer, int tensor) { return tensor == 0 ? 4096 + 64 * layer : 9; }
  [[nodiscard]] std::int64_t rows() const { return placement_.layout().slots_of(rank_); }
  [[nodiscard]] std::int64_t place_of(int layer, int tensor, std::int64_t row) const {
    std::int64_t place = 8;  // never empty
    for (int l = 0; l < layer; ++l) place += rows() * (row_bytes(l, 0) + row_bytes(l, 1) + 2 * kPadding);
    if (tensor == 1) place += rows() * (row_bytes(layer, 0) + kPadding);
    return place + row * (row_bytes(layer, tensor) + kPadding);
  }
  void fill(int layer, int tensor) {
    auto const experts = placement_.rank_slots(layer, rank_);
    for (std::size_t row = 0; row < experts.size(); ++row)
      if (experts[row].valid())
        fill_weight_tags(
            std::span(bytes_).subspan(static_cast<std::size_t>(place_of(layer, tensor, static_cast<std::int64_t>(row))),
                                      static_cast<std::size_t>(row_bytes(layer, tensor))),
            layer, experts[row], tensor);
  }

  ExpertPlacement const& placement_;
  RankId rank_;
  std::vector<std::byte> bytes_{};
};

/// @return the bytes after the CPU backend moved them.
inline std::vector<std::byte> move_on_host(RebalancePlan const& plan, Communicator& comm, RankRows const& rows) {
  std::vector<std::byte> memory = rows.bytes();
  cpu::RebalanceExecutor executor(plan);
  executor.execute(comm, rows.at(memory.data()));
  return memory;
}
inline std::vector<std::byte> move_on_host(RebalanceSchedule const& schedule, Communicator& comm,
                                           RankRows const& rows) {
  std::vector<std::byte> memory = rows.bytes();
  cpu::ScheduleExecutor executor(schedule, {.mode = cpu::RebalanceMode::in_place});
  executor.execute(comm, rows.at(memory.data()));
  return memory;
}

inline std::vector<std::byte> bytes_of(cuda::DeviceBuffer const& memory, cuda::StreamView stream) {
  return cuda::download<std::byte>(memory, stream);
}

/// Last layer first; until commit() the slots are as they were.
inline void move_stepwise(PairReport& report, std::string const& name, cuda::RebalanceExecutor& executor,
                          cuda::RebalanceLinks const& links, RegisteredWeights const& weights,
                          cuda::DeviceBuffer const& memory, cuda::StreamView stream) {
  for (int layer = weights.num_layers() - 1; layer >= 0; --layer) {
    auto const before = bytes_of(memory, stream);
    executor.begin(links, weights, layer, stream);
    while (!executor.poll()) static_cast<void>(executor.ready());
    if (!executor.ready()) report.failed(name + ": work is left after the last poll");
    if (bytes_of(memory, stream) != before) report.failed(name + ": a slot was written before the commit");
    executor.commit(stream);
  }
}

/// Moves the rows by both backends and compares all bytes of the memory, padding too. @param me this rank in the plan,
/// where the group leaves dead ranks out.
template <typename Plan>
void rebalance_rank(PairReport& report, std::string const& name, Plan const& plan, Way way,
                    cuda::RebalanceLinks const& links, std::optional<RankId> me = {}) {
  RankRows const rows(plan.before, me.value_or(links.control.rank()));
  auto const expected = way == Way::profile ? rows.bytes() : move_on_host(plan, links.control, rows);
  cuda::Stream const stream;
  auto const memory = cuda::upload(rows.bytes(), stream);
  RegisteredWeights const weights = rows.at(memory.as<std::byte>());
  bool const buffered = way == Way::buffered;
  cuda::RebalanceExecutor executor(plan,
                                   {.mode = buffered ? cuda::RebalanceMode::buffered : cuda::RebalanceMode::in_place});
  if (way == Way::profile)
    executor.profile(links, weights, stream);
  else if (way == Way::stepwise)
    move_stepwise(report, name, executor, links, weights, memory, stream);
  else
    executor.execute(links, weights, stream);
  auto const found = bytes_of(memory, stream);
  auto const wrong = std::mismatch(expected.begin(), expected.end(), found.begin());
  if (wrong.first != expected.end())
    report.failed(name + ", rank " + std::to_string(links.control.rank().value()) + ": byte " +
                  std::to_string(wrong.first - expected.begin()) + " is " +
                  std::to_string(std::to_integer<int>(*wrong.second)) + ", on the CPU " +
                  std::to_string(std::to_integer<int>(*wrong.first)));
  if (executor.committed_placement() != (way == Way::profile ? plan.before : plan.after))
    report.failed(name + ": the executor states another placement");
  report.compared(expected.size());
}

/// A plan and schedules of a move, each in every way it allows.
inline void rebalance_case(PairReport& report, std::string const& name, ExpertPlacement const& before,
                           ExpertPlacement const& after, cuda::RebalanceLinks const& links) {
  RebalancePlan const plan = plan_rebalance(before, after);
  RebalanceSchedule const whole = plan_schedule(before, after);
  RebalanceSchedule const tight = plan_schedule(before, after, {}, {.spare_rows = 1});
  for (Way const way : kWays) {
    rebalance_rank(report, name + " plan " + name_of(way), plan, way, links);
    rebalance_rank(report, name + " schedule " + name_of(way), whole, way, links);
  }
  rebalance_rank(report, name + " schedule of one spare row", tight, Way::in_place, links);
  rebalance_rank(report, name + " profile of one spare row", tight, Way::profile, links);
}

}  // namespace cross_backend
